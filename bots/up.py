"""`frontdesk up`: everything on one machine, one supervisor over a process each.

The children end with the supervisor, also when it is killed: the kernel tells them. One that dies is
started again; one that says that it cannot start at all (exit status 2) is not.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bots.build import load_plugins
from bots.envelope import load_envelope
from bots.errors import DataDirInUse, StartError
from bots.redis_server import commands_client, redis_for, start_child
from bots.settings import Settings, folder, secret
from engine.client import EngineClient
from engine.library.library import Library
from engine.log import logger
from engine.search.embedder_package import package_problem

CANNOT_START = 2
_READY_SECONDS = 600
# A worker lets answers that are begun finish. Together with what Redis may take these stay within half a
# minute.
_CHAT_STOP_SECONDS = 23.0
_ENGINE_STOP_SECONDS = 1.5
_LONGEST_PAUSE = 30.0

log = logger("bots.up")

Say = Callable[[str], None]


@dataclass(slots=True)
class Child:
    """A process of ours; how often it had to be started again, and when it next will be."""

    name: str
    process: subprocess.Popen[bytes]
    restarts: int = 0
    restart_at: float | None = None


async def up(settings: Settings, say: Say, stop: asyncio.Event) -> None:
    """Start everything, say what runs, and keep it running until `stop` is set.

    Raises `StartError` when something cannot start; what did start is ended first.
    """
    folder(settings.data_dir)
    with _exclusive(settings.data_dir):
        load_envelope(settings)  # made here, once, before the children all want it
        _check_ports(settings)
        async with redis_for(settings, shared=False) as url:
            await _learn_first(settings, url, say)
            children = Children({**os.environ, "FRONTDESK_REDIS_URL": url})
            try:
                for name in ["engine", "worker", "web", *settings.platforms]:
                    children.start(name)
                await _wait_until_ready(settings, children, stop)
                if not stop.is_set():
                    await _say_what_runs(settings, say)
                while not stop.is_set():
                    children.look_after(is_starting=False)
                    await _wait(stop, 0.3)
            finally:
                await children.stop()


class Children:
    """The processes and their fate."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._running: list[Child] = []

    def start(self, name: str) -> None:
        """Start `frontdesk <name>`."""
        self._running.append(Child(name, self._spawn(name)))

    def look_after(self, *, is_starting: bool) -> None:
        """Start again what died, after a pause that grows with each time.

        Raises `StartError` while `is_starting` for one that says that it cannot run at all; later that
        one stays away, and the others go on.
        """
        for child in list(self._running):
            if child.process.poll() is None:
                continue
            if child.process.returncode == CANNOT_START:
                if is_starting:
                    raise StartError(f"frontdesk {child.name} cannot start; its reason is above")
                log.error("a process cannot run and stays away; its reason is above", process=child.name)
                self._running.remove(child)
            elif child.restart_at is None:
                pause = min(2.0**child.restarts, _LONGEST_PAUSE)
                log.error("a process died and is started again", process=child.name, pause_seconds=pause)
                child.restart_at = time.monotonic() + pause
            elif time.monotonic() > child.restart_at:
                child.process = self._spawn(child.name)
                child.restarts, child.restart_at = child.restarts + 1, None

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        # -P: a folder of the team's called `plugins` must not come before ours.
        return start_child([sys.executable, "-P", "-m", "bots", name], environment=self._environment)

    async def stop(self) -> None:
        """End them all: the chat side first, which still needs the engine for the answers in hand."""
        chat_side = [child for child in self._running if child.name != "engine"]
        await self._end(chat_side, _CHAT_STOP_SECONDS)
        await self._end([child for child in self._running if child not in chat_side], _ENGINE_STOP_SECONDS)

    async def _end(self, children: list[Child], seconds: float) -> None:
        """Ask them to end; kill those that do not in time."""
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + seconds
        for child in children:
            while child.process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            if child.process.poll() is None:
                log.error("a process did not end in time and was killed", process=child.name)
                child.process.kill()
                child.process.wait()


@contextmanager
def _exclusive(data_dir: Path) -> Iterator[None]:
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirInUse(
                f"another `frontdesk up` is running on {data_dir}. Stop it first, or give this one a folder "
                "of its own with FRONTDESK_DATA_DIR."
            ) from None
        yield


def _check_ports(settings: Settings) -> None:
    """Find a taken port before anything is started, and name its setting."""
    for host, port, name in (
        (settings.engine_host, settings.engine_port, "engine_port"),
        (settings.web_host, settings.web_port, "web_port"),
    ):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise StartError(
                    f"port {port} on {host} cannot be used ({error.strerror}): stop what uses it, or set "
                    f"FRONTDESK_{name.upper()}"
                ) from error


async def _learn_first(settings: Settings, url: str, say: Say) -> None:
    """The team's folder at every start; the sample pages when nothing was ever learned."""
    async with commands_client(url) as redis:
        learned = await Library(redis).seed(settings.knowledge)
    if settings.knowledge is not None:
        for result in learned:
            if result.status != "unchanged":
                say(f"{result.status:10} {result.name} {result.reason}".rstrip())
    elif learned:
        say("learned    the sample pages of an imaginary shop; `frontdesk learn` puts yours in their place")


async def _wait_until_ready(settings: Settings, children: Children, stop: asyncio.Event) -> None:
    client = EngineClient(settings.engine_address, secret(settings.engine_key))
    deadline = time.monotonic() + _READY_SECONDS
    try:
        while not stop.is_set():
            children.look_after(is_starting=True)
            if await client.ready():
                return
            if time.monotonic() > deadline:
                raise StartError("the engine was not ready in time; its log is above")
            await _wait(stop, 0.3)
    finally:
        await client.close()


async def _say_what_runs(settings: Settings, say: Say) -> None:
    client = EngineClient(settings.engine_address, secret(settings.engine_key))
    try:
        state = await client.ready() or {}
    finally:
        await client.close()
    say(f"model      {describe_model(state.get('model', '?'))}")
    say(f"knowledge  {state.get('passages', 0)} passages")
    if settings.embedder is None and (problem := package_problem()):
        say(f"search     {problem}")
    say(f"engine     http://{settings.engine_host}:{settings.engine_port}/v1")
    for platform in settings.platforms:
        say(f"{platform:10} starting; it says when it is connected")
    registry = load_plugins(settings)
    say(f"commands   {', '.join(sorted(registry.commands))}")
    for problem in registry.problems:
        say(f"plugin not loaded: {problem}")
    say(f"web chat   http://{settings.web_host}:{settings.web_port}")
    say("ready      Ctrl-C ends it")


def describe_model(name: str) -> str:
    """The model's name, and for the starter what it is."""
    if name != "frontdesk-starter":
        return name
    return (
        f"{name}: too small to write answers, so customers read quotations from the help pages; name a real "
        'one with model = "Qwen/Qwen3-0.6B" or a directory'
    )


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def stop_on_signals() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
