"""Messages that were given up: kept sealed for the retention time, for people to look at."""

from __future__ import annotations

import time
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.message import ConversationKey


class DeadLetters:
    """Trim and forget. Adding happens in `Inbox.bury`, in the step that takes the entry out."""

    def __init__(self, redis: Redis, envelope: Envelope, retention_days: int) -> None:
        self._redis: Any = redis
        self._envelope = envelope
        self._retention = retention_days * 24 * 3600

    async def purge(self) -> int:
        """Drop what is older than the retention time; return how many."""
        oldest = int((time.time() - self._retention) * 1000)
        return int(await self._redis.xtrim(keys.DEAD_LETTERS, minid=oldest, approximate=False))

    async def forget(self, conversation: ConversationKey, author_id: str) -> int:
        """Delete what this author of the workspace had written; return how many."""
        index = self._envelope.author_index(conversation, author_id).encode()
        found = await self._redis.xrange(keys.DEAD_LETTERS)
        mine = [entry_id for entry_id, fields in found if fields.get(b"a") == index]
        return int(await self._redis.xdel(keys.DEAD_LETTERS, *mine)) if mine else 0
