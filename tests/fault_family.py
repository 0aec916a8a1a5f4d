"""Processes of the fault suite, seen from the test: one process is asked to fork them, and tells of them."""

import asyncio
import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


@functools.cache
def _zygote():
    """The process that forks all others, one for as long as this process lives."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    command = [sys.executable, str(TESTS / "fault_worker.py")]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, env=environment)
    atexit.register(_end, process)
    process.stdout.readline()  # that it is ready
    return process


def _end(process):
    process.stdin.close()
    process.wait()
    process.stdout.close()


class Family:
    """The processes of one run; `on_ready` is called with the name and process id of each that is ready.

    `codes` are the exit codes of those that have ended, by name.
    """

    def __init__(self, name, log, on_ready):
        self._name, self._log, self._on_ready = name, log, on_ready
        self.codes = {}
        self._alive = {}
        self._told = {}
        self._heard = b""

    async def join(self):
        """Listen to what is said of this family."""
        self._zygote = await asyncio.to_thread(_zygote)
        asyncio.get_running_loop().add_reader(self._zygote.stdout, self._hear)

    async def end(self):
        """Kill everybody, and wait for it."""
        for pid in self._alive.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while self._alive:
                await asyncio.sleep(0.01)
        asyncio.get_running_loop().remove_reader(self._zygote.stdout)

    async def fork(self, name, kind, config):
        """Start a process; what it says of itself when it is ready, None if it ended before."""
        order = {"kind": kind, "name": f"{self._name}/{name}", "config": config, "log": str(self._log)}
        self._zygote.stdin.write(f"{json.dumps(order)}\n".encode())
        async with asyncio.timeout(30):
            return await self._waiting(name)

    def _hear(self):
        *lines, self._heard = (self._heard + os.read(self._zygote.stdout.fileno(), 1 << 20)).split(b"\n")
        for line in lines:
            self._note(json.loads(line))

    def _note(self, said):
        (name,) = (said[key] for key in ("forked", "ended", "ready") if key in said)
        name = name.rpartition("/")[2]
        if "forked" in said:
            self._alive[name] = said["pid"]
        elif "ended" in said:
            self._alive.pop(name, None)
            self.codes[name] = said["code"]
            self._tell(name, None)
        elif name not in self.codes:
            self._on_ready(name, said["pid"])
            self._tell(name, said["about"])

    def _tell(self, name, about):
        if not (waiting := self._waiting(name)).done():
            waiting.set_result(about)

    def _waiting(self, name):
        return self._told.setdefault(name, asyncio.get_running_loop().create_future())
