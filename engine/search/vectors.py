"""Vectors of texts, kept in memory and in Redis by content, so that no text is embedded twice.

In both they are float16, 768 bytes for all-MiniLM-L6-v2: rounding moves a cosine by less than a thousandth.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from engine.cores import aside
from engine.search.embedder import Embedder

VECTORS_KEY = "frontdesk:knowledge:vectors"

# Texts embedded between two looks at whether that is still wanted: about a second on a CPU.
BATCH = 64
_FETCHED_AT_A_TIME = 1000
_PREFIX_BYTES = 4
_KEY_BYTES = 20


class Vectors:
    """The vectors that one embedder made. Those of other embedders are left alone."""

    def __init__(self, redis: Redis, embedder: Embedder) -> None:
        self._redis: Any = redis
        self._embedder = embedder
        self._prefix = hashlib.sha256(f"{embedder.name}\0float16".encode()).digest()[:_PREFIX_BYTES]
        self._made: dict[bytes, bytes] = {}

    def key(self, text: str) -> bytes:
        """What a text's vector is kept under."""
        return self._prefix + hashlib.sha256(text.encode()).digest()[: _KEY_BYTES - _PREFIX_BYTES]

    async def fetch(self, texts: Sequence[str]) -> list[str]:
        """Get what was embedded before; returns the texts that were not, each once."""
        unknown = {key: text for text in texts if (key := self.key(text)) not in self._made}
        keys = list(unknown)
        for first in range(0, len(keys), _FETCHED_AT_A_TIME):
            some = keys[first : first + _FETCHED_AT_A_TIME]
            for key, vector in zip(some, await self._redis.hmget(VECTORS_KEY, some), strict=True):
                if vector is not None:
                    self._made[key] = vector
                    del unknown[key]
        return list(unknown.values())

    async def make(self, texts: Sequence[str]) -> None:
        """Embed these texts and keep their vectors."""
        if not texts:
            return
        made = await asyncio.to_thread(aside, self._embedder.embed, texts)
        new = {
            self.key(text): vector.astype(np.float16).tobytes()
            for text, vector in zip(texts, made, strict=True)
        }
        await self._redis.hset(VECTORS_KEY, mapping=new)
        self._made |= new

    def matrix(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`[texts, width]`: what was fetched or made, zeros for the others."""
        if not self._made or not texts:
            return np.zeros((len(texts), 0), np.float32)
        nothing = bytes(len(next(iter(self._made.values()))))
        rows = b"".join(self._made.get(self.key(text), nothing) for text in texts)
        return np.frombuffer(rows, np.float16).reshape(len(texts), -1).astype(np.float32)

    async def keep_only(self, texts: Collection[str]) -> None:
        """Forget this embedder's vectors of all other texts, here and in Redis."""
        wanted = {self.key(text) for text in texts}
        self._made = {key: vector for key, vector in self._made.items() if key in wanted}
        if await self._redis.hlen(VECTORS_KEY) <= len(wanted):
            return
        stored: list[bytes] = await self._redis.hkeys(VECTORS_KEY)
        others = [key for key in stored if key.startswith(self._prefix) and key not in wanted]
        for first in range(0, len(others), _FETCHED_AT_A_TIME):
            await self._redis.hdel(VECTORS_KEY, *others[first : first + _FETCHED_AT_A_TIME])
