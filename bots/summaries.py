"""A rolling summary of each conversation: what was said before the turns that a model can still read.

It stands beside the history in Redis, sealed, and never instead of it: every turn stays where it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.errors import Undecipherable
from bots.message import ConversationKey
from engine.log import logger

log = logger("bots.summaries")


@dataclass(frozen=True, slots=True)
class Summary:
    """`covers` is the history's id of the last turn that went into `text`; empty: none did."""

    text: str = ""
    covers: str = ""


class Summaries:
    """Read, replace and forget."""

    def __init__(self, redis: Redis, envelope: Envelope, retention_days: int) -> None:
        self._redis: Any = redis
        self._envelope = envelope
        self._retention = retention_days * 24 * 3600

    async def read(self, conversation: ConversationKey) -> Summary:
        """The conversation's summary, empty when there is none."""
        key = keys.summary(conversation)
        sealed = await self._redis.get(key)
        if sealed is None:
            return Summary()
        try:
            return Summary(**json.loads(self._envelope.open(sealed, key)))
        except (Undecipherable, TypeError) as error:  # another key, or another version's fields
            log.error("a summary cannot be opened and is made again", reason=str(error))
            return Summary()

    async def replace(self, conversation: ConversationKey, summary: Summary) -> None:
        """Keep this one. Its time is counted from the first: what it tells may be as old as that."""
        key = keys.summary(conversation)
        sealed = self._envelope.seal(json.dumps(asdict(summary), ensure_ascii=False), key)
        if not await self._redis.set(key, sealed, xx=True, keepttl=True):
            await self._redis.set(key, sealed, ex=self._retention)

    async def forget(self, conversation: ConversationKey) -> None:
        """Delete it: the turns that are left make the next one."""
        await self._redis.delete(keys.summary(conversation))
