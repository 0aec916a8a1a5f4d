"""The library: learned documents and a version number in Redis, the shared truth of every engine.

Needs no torch: `learn` may run where no model does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from engine.documents import SUFFIXES, Document, read_documents
from engine.errors import UnreadableDocument

DOCUMENTS_KEY = "frontdesk:knowledge:documents"
VERSION_KEY = "frontdesk:knowledge:version"
SAMPLE_PAGES = (Path(__file__).parent / "data" / "pages").resolve()


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of a document or file: added, changed, unchanged, removed or skipped, and why."""

    name: str
    status: str
    reason: str = ""


class Library:
    """The documents in Redis: what `learn` writes and every engine reads."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def learn(self, paths: Iterable[Path], *, is_sample: bool = False) -> list[Learned]:
        """Put files, and every readable file below folders, into the knowledge base.

        A file that cannot be read is skipped with the reason and stops nothing else; what was learned from
        it stays. What a folder or a `.jsonl` file held before and holds no more is removed.
        """
        results: list[Learned] = []
        for root in paths:
            if not root.exists():
                results.append(Learned(str(root), "skipped", "no such file or folder"))
                continue
            kept, unread = set[str](), set[str]()
            for path in _files(root):
                name = path.relative_to(root).as_posix() if root.is_dir() else path.name
                try:
                    documents = list(await asyncio.to_thread(_read, path))
                except (UnreadableDocument, OSError) as error:
                    results.append(Learned(name, "skipped", str(error)))
                    unread.add(str(path.resolve()))
                    continue
                for document in documents:
                    results.append(await self._put(document, name))
                    kept.add(results[-1].name)
            results += await self._drop_gone(root, kept, unread)
        statuses = {result.status for result in results}
        if statuses & {"added", "changed", "removed"}:
            if not is_sample and statuses & {"added", "changed"}:
                results += await self._drop_samples({result.name for result in results})
            await self._redis.incr(VERSION_KEY)
        return results

    async def seed(self, knowledge: Path | None) -> list[Learned]:
        """What every start does: learn the team's folder if there is one, else, when nothing was ever
        learned, the sample pages, which go again with the first document of the team's own.
        """
        if knowledge is not None:
            return await self.learn([knowledge])
        return await self.learn([SAMPLE_PAGES], is_sample=True) if await self.version() == 0 else []

    async def _drop_gone(self, root: Path, kept: set[str], unread: set[str]) -> list[Learned]:
        """Take out what came from `root` and was not found there now."""
        place = root.resolve()
        if not (kept or unread) and place.is_dir():  # rather a volume that is not mounted than a wish
            return []
        if not place.is_dir() and place.suffix.lower() != ".jsonl":
            return []
        gone = [
            document.id
            for document in await self.documents()
            if Path(document.source).is_relative_to(place)
            and document.id not in kept
            and document.source not in unread
        ]
        return await self._drop(gone, "no longer there")

    async def _drop(self, ids: list[str], reason: str) -> list[Learned]:
        if ids:
            await self._redis.hdel(DOCUMENTS_KEY, *ids)
        return [Learned(name, "removed", reason) for name in ids]

    async def _drop_samples(self, wanted: set[str]) -> list[Learned]:
        """Take the imaginary shop's pages out, but for what was asked for: a real shop must not answer so."""
        found = [
            document.id
            for document in await self.documents()
            if Path(document.source).parent == SAMPLE_PAGES and document.id not in wanted
        ]
        return await self._drop(found, "sample page")

    async def _put(self, document: Document, name: str) -> Learned:
        """Store a document under its name; one of that name from elsewhere keeps its place."""
        is_row = document.source.lower().endswith(".jsonl")
        if not is_row:
            document = _renamed(document, name)
        stored = await self._stored(document.id)
        if stored and stored.source != document.source and Path(stored.source).exists():
            own = f"{document.source}#{document.id}" if is_row else document.source
            document = _renamed(document, own)
            stored = await self._stored(own)
        if stored == document:
            return Learned(document.id, "unchanged")
        await self._redis.hset(DOCUMENTS_KEY, document.id, document.to_json())
        return Learned(document.id, "changed" if stored else "added")

    async def _stored(self, name: str) -> Document | None:
        text = await self._redis.hget(DOCUMENTS_KEY, name)
        return None if text is None else Document.from_json(text)

    async def documents(self) -> list[Document]:
        """All documents, by id."""
        stored = await self._redis.hgetall(DOCUMENTS_KEY)
        return sorted(
            (Document.from_json(text) for text in stored.values()), key=lambda document: document.id
        )

    async def version(self) -> int:
        """Moves with every change; 0 before anything was learned."""
        return int(await self._redis.get(VERSION_KEY) or 0)


def _read(path: Path) -> list[Document]:
    return list(read_documents(path))


def _renamed(document: Document, name: str) -> Document:
    return Document(name, document.title, document.text, document.source, document.question, document.aliases)


def _files(root: Path) -> list[Path]:
    """The file itself, or what can be read below a folder; hidden files are left alone."""
    if root.is_file():
        return [root]
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file()
        and path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
