"""The knowledge base: an index in memory over the library in Redis, cited passages out.

Every engine builds its own index and builds it again when the library's version moves. Vectors are kept
in Redis too, by content, so that no text is embedded twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.cores import aside
from engine.documents import passages, sentences
from engine.embedder import Embedder
from engine.index import Found, Index
from engine.library import Library
from engine.log import logger
from engine.types import ChatTurn

VECTORS_KEY = "frontdesk:knowledge:vectors"

# A generated sentence must come this close to the question, compared with the best that could be quoted.
_AS_RELEVANT = 0.9

log = logger("engine.knowledge")


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

    async def search(
        self, question: str, earlier: Sequence[ChatTurn] = (), *, scope: str = "", limit: int = 3
    ) -> Found:
        """As `Index.search`, in a thread."""
        return await asyncio.to_thread(self.index.search, question, earlier, scope=scope, limit=limit)

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
