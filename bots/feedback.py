"""Whether answers helped, as people said by the buttons below them: counts, and which answers."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.message import ConversationKey, Rating


@dataclass(frozen=True, slots=True)
class Tally:
    """How many answers were rated, and how many of them as helpful."""

    rated: int
    helpful: int


class Feedback:
    """Rate, count, purge, forget. One rating a person and answer: the last one."""

    def __init__(self, redis: Redis, envelope: Envelope, retention_days: int) -> None:
        self._redis: Any = redis
        self._envelope = envelope
        self._retention = retention_days * 24 * 3600

    async def rate(self, rating: Rating) -> None:
        """Keep a rating."""
        author = self._envelope.author_index(rating.conversation, rating.author_id)
        record = {"helpful": rating.is_helpful, "at": time.time(), "author": author}
        await self._redis.hset(keys.FEEDBACK, f"{rating.message_id} {author}", json.dumps(record))

    async def tally(self) -> Tally:
        """Over everything that is kept."""
        records = [json.loads(record) for record in await self._redis.hvals(keys.FEEDBACK)]
        return Tally(len(records), sum(record["helpful"] for record in records))

    async def purge(self) -> int:
        """Drop what is older than the retention time; return how many."""
        oldest = time.time() - self._retention
        return await self._drop(lambda record: record["at"] < oldest)

    async def forget(self, conversation: ConversationKey, author_id: str) -> int:
        """Delete this author's ratings in the workspace; return how many."""
        author = self._envelope.author_index(conversation, author_id)
        return await self._drop(lambda record: record["author"] == author)

    async def _drop(self, is_meant: Any) -> int:
        kept = await self._redis.hgetall(keys.FEEDBACK)
        meant = [name for name, record in kept.items() if is_meant(json.loads(record))]
        return int(await self._redis.hdel(keys.FEEDBACK, *meant)) if meant else 0
