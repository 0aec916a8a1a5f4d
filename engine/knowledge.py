"""The knowledge base: documents in Redis, an index in memory, cited passages out.

Redis holds the shared truth, documents and a version number; every engine builds its own index from it
and builds it again when the version moves. Vectors are kept there too, by content, so that no text is
embedded twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from engine.documents import SUFFIXES, Document, Passage, passages, read_documents
from engine.embedder import Embedder
from engine.errors import UnreadableDocument
from engine.filter import find, normalise
from engine.lexical import BM25
from engine.log import logger
from engine.types import Citation

DOCUMENTS_KEY = "frontdesk:knowledge:documents"
VERSION_KEY = "frontdesk:knowledge:version"
VECTORS_KEY = "frontdesk:knowledge:vectors"
SAMPLE_PAGES = Path(__file__).parent / "data" / "pages"

log = logger("engine.knowledge")


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of one document or file: `added`, `changed`, `unchanged` or `skipped`, and why."""

    name: str
    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage and how well it fits: `score` in [0, 1]."""

    passage: Passage
    score: float

    def citation(self) -> Citation:
        """The whole passage as a quotation."""
        passage = self.passage
        return Citation(passage.document, passage.heading, passage.start, passage.end, passage.text)


class Library:
    """The documents in Redis: what `learn` writes and every engine reads."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def learn(self, paths: Iterable[Path]) -> list[Learned]:
        """Put files, and every readable file below folders, into the knowledge base.

        A file that cannot be read is skipped with the reason and stops nothing else.
        """
        results: list[Learned] = []
        for root in paths:
            if not root.exists():
                results.append(Learned(str(root), "skipped", "no such file or folder"))
            for path in _files(root):
                name = path.relative_to(root).as_posix() if root.is_dir() else path.name
                try:
                    documents = list(await asyncio.to_thread(_read, path))
                except (UnreadableDocument, OSError) as error:
                    results.append(Learned(name, "skipped", str(error)))
                    continue
                for document in documents:
                    results.append(await self._put(document, name))
        if any(result.status in {"added", "changed"} for result in results):
            await self._redis.incr(VERSION_KEY)
        return results

    async def _put(self, document: Document, name: str) -> Learned:
        """Store a document under its name; one of that name from elsewhere keeps its place."""
        if not document.source.endswith(".jsonl"):
            document = _renamed(document, name)
        stored = await self._redis.hget(DOCUMENTS_KEY, document.id)
        if stored is not None:
            before = Document.from_json(stored)
            if before == document:
                return Learned(document.id, "unchanged")
            if before.source != document.source and Path(before.source).exists():
                document = _renamed(document, document.source)
        status = "added" if stored is None else "changed"
        await self._redis.hset(DOCUMENTS_KEY, document.id, document.to_json())
        return Learned(document.id, status)

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


class Index:
    """Search over one version of the documents. Built once, never changed."""

    def __init__(self, version: int, found: Sequence[Passage], embedder: Embedder | None) -> None:
        self.version, self.passages = version, found
        self._embedder = embedder
        self._bm25 = BM25([f"{passage.heading}\n{passage.text}" for passage in found])
        self.contacts = frozenset(
            normalise(finding.entity, passage.text[finding.start : finding.end])
            for passage in found
            for finding in find(passage.text)
        )
        """The team's own addresses and numbers, which the filter lets through on the way out."""
        self._vectors = np.zeros((0, 0), np.float32)  # [texts, width]
        self._owners = np.zeros(0, np.int64)  # [texts]: which passage a vector belongs to

    def add_vectors(self, vectors: NDArray[np.float32], owners: NDArray[np.int64]) -> None:
        """Vectors of `embedded_texts`, in that order."""
        self._vectors, self._owners = vectors, owners

    def embedded_texts(self) -> tuple[list[str], NDArray[np.int64]]:
        """Every text worth a vector, and the row of its passage: its questions, and its body."""
        texts, owners = [], []
        for row, passage in enumerate(self.passages):
            for text in (*passage.questions, f"{passage.heading}\n{passage.text}"):
                texts.append(text)
                owners.append(row)
        return texts, np.array(owners, dtype=np.int64)

    def search(self, query: str, limit: int = 3) -> list[Hit]:
        """The passages that fit best, best first. Scores are comparable between queries.

        A linear mix: cosine of the best of a passage's vectors, and the share of the query's words that it
        has, weighted by rarity. Without an embedder the words decide alone.
        """
        if not self.passages:
            return []
        bm25, coverage = self._bm25.search(query)
        ranking = bm25 / (bm25.max() or 1.0)
        if self._embedder is None or not len(self._vectors):
            scores, ranking = coverage, coverage + 0.01 * ranking
        else:
            cosines = self._vectors @ self._embedder([query])[0]
            best = np.full(len(self.passages), -1.0)
            np.maximum.at(best, self._owners, cosines)
            ranking = 0.8 * best + 0.2 * ranking
            scores = np.clip(0.9 * best + 0.1 * coverage, 0, 1)
        rows = np.argsort(-ranking, kind="stable")[:limit]
        return [Hit(self.passages[row], float(scores[row])) for row in rows]


class KnowledgeBase:
    """The index, kept up with Redis."""

    def __init__(self, redis: Redis, embedder: Embedder | None) -> None:
        self.library = Library(redis)
        self._redis: Any = redis
        self._embedder = embedder
        self._lock = asyncio.Lock()
        self.index = Index(-1, [], embedder)

    async def refresh(self) -> None:
        """Build the index again if the documents changed; searches go on over the old one meanwhile."""
        async with self._lock:
            version = await self.library.version()
            if version == self.index.version:
                return
            documents = await self.library.documents()
            index = await asyncio.to_thread(
                lambda: Index(version, [p for d in documents for p in passages(d)], self._embedder)
            )
            if self._embedder is not None:
                texts, owners = index.embedded_texts()
                index.add_vectors(await self._embed(texts), owners)
            self.index = index
            log.info("knowledge indexed", passages=len(index.passages), documents=len(documents))

    async def keep_fresh(self, interval: float = 0.5) -> None:
        """Refresh for ever, every `interval` seconds; a Redis that is away is asked again."""
        while True:
            try:
                await self.refresh()
            except Exception:  # an observer: the old index goes on serving
                log.exception("the knowledge base could not be refreshed; trying again")
                await asyncio.sleep(5)
            await asyncio.sleep(interval)

    async def search(self, query: str, limit: int = 3) -> list[Hit]:
        """The passages that fit best, best first."""
        return await asyncio.to_thread(self.index.search, query, limit)

    async def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Vectors of these texts, from Redis where they were embedded before."""
        assert self._embedder is not None
        if not texts:
            return np.zeros((0, 0), np.float32)
        keys = [hashlib.sha256(f"{self._embedder.name}\0{text}".encode()).digest()[:16] for text in texts]
        stored = await self._redis.hmget(VECTORS_KEY, keys)
        missing = [row for row, vector in enumerate(stored) if vector is None]
        made = await asyncio.to_thread(self._embedder, [texts[row] for row in missing])
        if missing:
            vectors = {keys[row]: vector.tobytes() for row, vector in zip(missing, made, strict=True)}
            await self._redis.hset(VECTORS_KEY, mapping=vectors)
        fresh = iter(made)
        return np.stack([np.frombuffer(v, np.float32) if v is not None else next(fresh) for v in stored])
