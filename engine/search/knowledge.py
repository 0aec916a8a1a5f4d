"""The knowledge base: an index in memory over the library in Redis, cited passages out.

Every engine builds its own index and builds it again when the library's version moves: only documents that
changed are fetched and cut, only texts that are new are embedded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.library.catalogue import Catalogue
from engine.library.documents import Passage, passages, sentences
from engine.library.library import Library
from engine.log import logger
from engine.search.embedder import Embedder
from engine.search.index import Found, Index
from engine.search.vectors import BATCH, Vectors
from engine.types import ChatTurn

# A generated sentence must come this close to the question, compared with the best that could be quoted.
_AS_RELEVANT = 0.9

log = logger("engine.search.knowledge")


class KnowledgeBase:
    """The index, kept up with Redis."""

    def __init__(self, redis: Redis, embedder: Embedder | None) -> None:
        self.library = Library(redis)
        self.embedder = embedder
        self._vectors = Vectors(redis, embedder) if embedder else None
        self._lock = asyncio.Lock()
        self._version = -1
        self._cut: dict[str, tuple[str, list[Passage]]] = {}
        self.index = Index(-1, [], embedder)

    async def refresh(self) -> None:
        """Build the index again if the documents changed; searches go on over the old one meanwhile."""
        async with self._lock:
            while (version := await self.library.version()) != self._version:
                if await self._build(version):
                    self._version = version
                    log.info("knowledge indexed", passages=len(self.index.passages), documents=len(self._cut))

    async def _build(self, version: int) -> bool:
        """Index this version; False when it was overtaken by the next while texts were embedded."""
        await self._cut_changed()
        found = [passage for _, cut in self._cut.values() for passage in cut]
        index = await asyncio.to_thread(Index, version, found, self.embedder)
        if self._vectors is not None and not await self._add_vectors(self._vectors, index):
            return False
        self.index = index
        return True

    async def _cut_changed(self) -> None:
        """Bring the passages up to date with the library, document by document."""
        catalogue = await self.library.catalogue()
        is_kept = {name for name, (digest, _) in self._cut.items() if _digest(catalogue, name) == digest}
        changed = await self.library.documents([name for name in catalogue if name not in is_kept])
        cut = await asyncio.to_thread(lambda: {d.id: (d.digest, list(passages(d))) for d in changed})
        kept = {name: self._cut[name] for name in is_kept}
        self._cut = dict(sorted((kept | cut).items()))

    async def _add_vectors(self, vectors: Vectors, index: Index) -> bool:
        """Give the index its vectors, embedding what is new; False when the library moved on meanwhile.

        When that takes a while, search goes by words alone until it is done, so that what is new is found.
        """
        texts, owners = await asyncio.to_thread(index.embedded_texts)
        missing = await vectors.fetch(texts)
        if len(missing) > BATCH:
            self.index = await asyncio.to_thread(Index, index.version, index.passages, None)
        for first in range(0, len(missing), BATCH):
            await vectors.make(missing[first : first + BATCH])
            if await self.library.version() != index.version:
                return False
        index.add_vectors(await asyncio.to_thread(vectors.matrix, texts), owners)
        await vectors.keep_only(texts)
        return True

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
        embedder = self.embedder
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

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of these texts, from Redis where they were embedded before. Needs an embedder."""
        assert self._vectors is not None
        await self._vectors.make(await self._vectors.fetch(texts))
        return await asyncio.to_thread(self._vectors.matrix, texts)


def _digest(catalogue: Catalogue, name: str) -> str:
    return catalogue[name].digest if name in catalogue else ""
