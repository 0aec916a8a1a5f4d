"""Running parts of frontdesk inside a test, and ending them again."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time

import psutil

from bots.build import build_worker
from bots.registry import Registry
from bots.tasks import end


@contextlib.asynccontextmanager
async def background(coroutine):
    """A task beside the test; an error in it is the test's."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
        if task.done():
            task.result()
    finally:
        await end(task)


@contextlib.asynccontextmanager
async def working(store, engine, senders, registry=None):
    """A worker, as `frontdesk worker` runs it."""
    if registry is None:
        registry = Registry()
        registry.load(["plugins"])
    stop = asyncio.Event()
    async with background(build_worker(store, engine, registry, senders).run(stop)) as task:
        yield
        stop.set()
        await asyncio.wait_for(task, 15)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class FrontdeskUp:
    """`frontdesk up` in processes of its own, with a data folder and ports of its own."""

    def __init__(self, folder, **environment):
        self.data_dir = folder / "data"
        self.engine_port, self.web_port = free_port(), free_port()
        self.web_url = f"http://127.0.0.1:{self.web_port}"
        self.engine_url = f"http://127.0.0.1:{self.engine_port}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FRONTDESK_")}
        self.environment = {
            **clean,
            "HF_HUB_OFFLINE": "1",
            "FRONTDESK_DATA_DIR": str(self.data_dir),
            "FRONTDESK_ENGINE_PORT": str(self.engine_port),
            "FRONTDESK_WEB_PORT": str(self.web_port),
            **environment,
        }
        self.folder = folder
        self.log_path = folder / "up.log"
        self.process = None

    def start(self):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bots", "up"],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self):
        return self.log_path.read_text()

    def wait_until_ready(self, times=1):
        deadline = time.monotonic() + 90
        while self.log.count("ready      ") < times:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    def run(self, *arguments, **options):
        """Another `frontdesk` command beside it."""
        return subprocess.run(
            [sys.executable, "-m", "bots", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=90,
            **options,
        )

    def kill(self, *, children):
        """As the kernel does when memory is out: the supervisor alone, or with everything it started."""
        doomed = psutil.Process(self.process.pid).children(recursive=True) if children else []
        for process in (self.process, *doomed):
            process.kill()
        self.process.wait()

    def terminate(self):
        """Politely; returns the seconds it took."""
        started = time.monotonic()
        self.process.terminate()
        self.process.wait(30)
        return time.monotonic() - started

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.terminate()
