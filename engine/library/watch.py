"""Watches the folder that the settings call `knowledge`, and learns it again when it changes.

Of several engines on one Redis one watches. Nothing is removed because a folder is gone as a whole: that is
rather a volume that is not mounted than a wish.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.library.lesson import Learned
from engine.library.library import Library
from engine.library.sources import is_folder, is_there
from engine.log import logger

WATCHER_KEY = "frontdesk:knowledge:watcher"

# How long after one engine has died another watches in its place.
_LEASE_MS = 5000
_LOOK_SECONDS = 0.5

log = logger("engine.library.watch")

Snapshot = dict[str, tuple[int, int]]


@asynccontextmanager
async def watching(redis: Redis, folder: Path | None) -> AsyncIterator[None]:
    """Watch the folder, if there is one, until the context ends."""
    if folder is None:
        yield
        return
    task = asyncio.create_task(Watcher(redis, folder).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Watcher:
    """One engine's watch over a folder or file."""

    def __init__(self, redis: Redis, folder: Path) -> None:
        self._redis: Any = redis
        self._library, self._folder = Library(redis), folder
        self._token = secrets.token_hex(8).encode()
        self._seen: Snapshot | None = None
        self._is_gone = False
        self._told: set[Learned] = set()

    async def run(self) -> None:
        """Look for ever; a Redis that is away is asked again."""
        while True:
            try:
                await self.look()
            except RedisError as error:
                log.warning("Redis cannot be reached; the folder is looked at later", reason=str(error))
                await asyncio.sleep(2)
            except Exception:  # an observer: the next look may go better
                log.exception("the folder of knowledge could not be learned; trying again")
                await asyncio.sleep(5)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Learn what changed since the last look, if this engine is the one that watches."""
        if not await self._is_ours():
            self._seen = None  # what happens until it is ours is not known: all of it is learned then
            return
        found = await asyncio.to_thread(_snapshot, self._folder)
        if self._is_gone != (found is None):
            self._is_gone = found is None
            self._tell_whether_gone()
        if found is not None and found != self._seen:
            self._tell(await self._library.learn([self._folder]))
            self._seen = found

    async def _is_ours(self) -> bool:
        """Take the watch or keep it."""
        if await self._redis.set(WATCHER_KEY, self._token, nx=True, px=_LEASE_MS):
            return True
        if await self._redis.get(WATCHER_KEY) != self._token:
            return False
        # Should it pass to another just here, both learn the same folder once, which does no harm.
        await self._redis.pexpire(WATCHER_KEY, _LEASE_MS)
        return True

    def _tell_whether_gone(self) -> None:
        if self._is_gone:
            log.warning("the folder of knowledge is gone; what was learned stays", folder=str(self._folder))
        else:
            log.info("the folder of knowledge is there", folder=str(self._folder))

    def _tell(self, results: list[Learned]) -> None:
        """Log what changed, and what is skipped, the latter once."""
        for result in results:
            if result.status == "skipped" and result not in self._told:
                log.warning("a document was skipped", name=result.name, reason=result.reason)
            elif result.status not in {"skipped", "unchanged"}:
                log.info("a document was learned", name=result.name, status=result.status)
        self._told = {result for result in results if result.status == "skipped"}


def _snapshot(folder: Path) -> Snapshot | None:
    """Modification time in nanoseconds and size of each file; None when there is nothing to look at."""
    if not is_there(str(folder)):
        return None
    found: Snapshot = {}
    for path in _files(folder):
        with contextlib.suppress(OSError):  # gone between two looks, or a link that leads nowhere
            state = path.stat()
            found[str(path)] = state.st_mtime_ns, state.st_size
    return found


def _files(folder: Path) -> Iterator[Path]:
    if not is_folder(str(folder)):
        yield folder
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where, name) for name in names)
