"""The library: learned documents, their catalogue and a version number in Redis, the truth of every engine.

Needs no torch: `learn` may run where no model does. What is written is written in one transaction with the
version, so that no engine ever sees half of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from engine.library.catalogue import Entry, entry_of
from engine.library.documents import Document
from engine.library.lesson import SAMPLE_PAGES, Learned, Lesson
from engine.library.sources import place_of
from engine.library.web_page import AllowedHosts, is_address

DOCUMENTS_KEY = "frontdesk:knowledge:documents"
CATALOGUE_KEY = "frontdesk:knowledge:catalogue"
VERSION_KEY = "frontdesk:knowledge:version"


class Library:
    """The documents in Redis: what `learn` writes and every engine reads."""

    def __init__(self, redis: Redis, allowed_hosts: Iterable[str] = ()) -> None:
        self._redis: Any = redis
        self._allowed = AllowedHosts(allowed_hosts)

    async def learn(
        self, names: Iterable[Path | str], *, scope: str | None = None, is_sample: bool = False
    ) -> list[Learned]:
        """Put files, every readable file below folders, and web pages into the knowledge base.

        What cannot be read is skipped with the reason and stops nothing else; what was learned from it
        stays. What a folder or a `.jsonl` file held before and holds no more is removed.

        Parameters
          scope: where what is learned may be quoted; None leaves what is known as it is, and what is new
            is for everywhere
        """
        lesson = Lesson(await self.catalogue(), self._allowed, scope, is_sample=is_sample)
        for name in names:
            await lesson.read(str(name))
        await asyncio.to_thread(lesson.conclude)
        await self._write(lesson.documents, lesson.removed, lesson.entries)
        return lesson.results

    async def remove(self, names: Iterable[str]) -> list[Learned]:
        """Take out documents by id, file, folder or address. A watched file comes back when it changes."""
        known = await self.catalogue()
        results: list[Learned] = []
        for name in names:
            found = [entry.id for entry in known.values() if _is_meant(entry, name)]
            results += [Learned(found_name, "removed") for found_name in found]
            if not found:
                results.append(Learned(name, "skipped", "nothing that is known has this name"))
        gone = {result.name for result in results if result.status == "removed"}
        await self._write({}, gone, {})
        return results

    async def seed(self, knowledge: Path | None) -> list[Learned]:
        """What every start does: learn the team's folder if there is one, else, when nothing was ever
        learned, the sample pages, which go again with the first document of the team's own.
        """
        if knowledge is not None:
            return await self.learn([knowledge])
        return await self.learn([SAMPLE_PAGES], is_sample=True) if await self.version() == 0 else []

    async def documents(self, ids: Sequence[str] | None = None) -> list[Document]:
        """All documents by id, or those of these ids that are still there."""
        if ids is None:
            stored = (await self._redis.hgetall(DOCUMENTS_KEY)).values()
        else:
            stored = await self._redis.hmget(DOCUMENTS_KEY, list(ids)) if ids else []
        found = (Document.from_json(text) for text in stored if text is not None)
        return sorted(found, key=lambda document: document.id)

    async def catalogue(self) -> dict[str, Entry]:
        """An entry for each document, by id."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(CATALOGUE_KEY)
            pipeline.hlen(DOCUMENTS_KEY)
            stored, count = await pipeline.execute()
        if len(stored) != count:  # written by a version that kept none
            made = {document.id: entry_of(document) for document in await self.documents()}
            await self._write({}, set(), made)
            return made
        entries = map(Entry.from_json, stored.values())
        return {entry.id: entry for entry in sorted(entries, key=lambda entry: entry.id)}

    async def version(self) -> int:
        """Moves with every change; 0 before anything was learned."""
        return int(await self._redis.get(VERSION_KEY) or 0)

    async def _write(
        self, written: dict[str, Document], removed: set[str], catalogue: dict[str, Entry]
    ) -> None:
        """Write all of it, and the version with it, or nothing."""
        if not (written or removed or catalogue):
            return
        async with self._redis.pipeline(transaction=True) as pipeline:
            for document in written.values():
                pipeline.hset(DOCUMENTS_KEY, document.id, document.to_json())
            for entry in catalogue.values():
                pipeline.hset(CATALOGUE_KEY, entry.id, entry.to_json())
            for name in removed:
                pipeline.hdel(DOCUMENTS_KEY, name)
                pipeline.hdel(CATALOGUE_KEY, name)
            pipeline.incr(VERSION_KEY)
            await pipeline.execute()


def _is_meant(entry: Entry, name: str) -> bool:
    if name in (entry.id, entry.source):
        return True
    place = place_of(name)
    return bool(name) and not is_address(entry.source) and Path(entry.source).is_relative_to(place)
