"""The knowledge base: an index in memory over the library in Redis, cited passages out.

Every engine builds its own index and builds it again when the library's version moves. Vectors are kept
in Redis too, by content, so that no text is embedded twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.cores import aside
from engine.documents import Passage, passages, sentences
from engine.embedder import Embedder
from engine.filter import find, normalise
from engine.lexical import BM25
from engine.library import Library
from engine.log import logger
from engine.types import Citation

VECTORS_KEY = "frontdesk:knowledge:vectors"

# A generated sentence must come this close to the question, compared with the best that could be quoted.
_AS_RELEVANT = 0.9

log = logger("engine.knowledge")


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage and how well it fits: `score` in [0, 1]."""

    passage: Passage
    score: float

    def citation(self) -> Citation:
        """The whole passage as a quotation."""
        passage = self.passage
        return Citation(passage.document, passage.heading, passage.start, passage.end, passage.text)


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
        self._bodies = np.zeros(0, np.int64)  # [passages]: which vector is the body's

    def add_vectors(self, vectors: NDArray[np.float32], owners: NDArray[np.int64]) -> None:
        """Vectors of `embedded_texts`, in that order."""
        self._vectors, self._owners = vectors, owners
        # The body's text is the last of a passage's.
        self._bodies = np.searchsorted(owners, np.arange(len(self.passages)), side="right") - 1

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

        A linear mix: cosine to the best of a passage's vectors, cosine to its body, and the share of the
        query's words that it has, weighted by rarity. Without an embedder the words decide alone. The
        weights were chosen on public FAQ sets and the sample pages.
        """
        if not self.passages:
            return []
        bm25, coverage = self._bm25.search(query)
        if self._embedder is None or not len(self._vectors):
            scores, ranking = coverage, coverage + 0.01 * bm25 / (bm25.max() or 1.0)
        else:
            cosines = self._vectors @ self._embedder([query])[0]
            best = np.full(len(self.passages), -1.0)
            np.maximum.at(best, self._owners, cosines)
            scores = np.clip(0.56 * best + 0.24 * cosines[self._bodies] + 0.2 * coverage, 0, 1)
            ranking = scores
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
            except RedisError as error:
                log.warning("Redis cannot be asked for new knowledge; trying again", reason=str(error))
                await asyncio.sleep(2)
            except Exception:  # an observer: the old index goes on serving
                log.exception("the knowledge base could not be refreshed; trying again")
                await asyncio.sleep(5)
            await asyncio.sleep(interval)

    def relevance(self, question: str, passage: str) -> Callable[[str], bool]:
        """Tells whether a sentence is about as close to the question as the passage's best sentence.

        Without an embedder there is no telling, and every sentence counts as relevant.
        """
        embedder = self._embedder
        if embedder is None:
            return lambda sentence: True
        bar: list[float] = []

        def is_relevant(sentence: str) -> bool:
            if not bar:
                vectors = embedder([question, *(passage[start:end] for start, end in sentences(passage))])
                bar.append(_AS_RELEVANT * float((vectors[1:] @ vectors[0]).max(initial=0.0)))
            asked, said = embedder([question, sentence])
            return float(asked @ said) >= bar[0]

        return is_relevant

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
        made = await asyncio.to_thread(aside, self._embedder.embed, [texts[row] for row in missing])
        if missing:
            vectors = {keys[row]: vector.tobytes() for row, vector in zip(missing, made, strict=True)}
            await self._redis.hset(VECTORS_KEY, mapping=vectors)
        fresh = iter(made)
        return np.stack([np.frombuffer(v, np.float32) if v is not None else next(fresh) for v in stored])
