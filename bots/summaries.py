"""A rolling summary of each conversation: what was said before the turns that a model can still read.

It stands beside the history in Redis, sealed, and never instead of it: every turn stays where it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.errors import Undecipherable
from bots.message import ConversationKey
from engine.log import logger

log = logger("bots.summaries")

# KEYS: summary, forgotten   ARGV: how often somebody was forgotten, sealed summary, seconds to live
_REPLACE = """
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then return 0 end
if not redis.call('SET', KEYS[1], ARGV[2], 'XX', 'KEEPTTL') then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return 1
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """`covers` is the history's id of the last turn that went into `text`; empty: none did."""

    text: str = ""
    covers: str = ""
    forgotten: int = field(default=0, compare=False)
    """How often somebody had been forgotten here when this was read."""


class Summaries:
    """Read, replace and forget."""

    def __init__(self, redis: Redis, envelope: Envelope, retention_days: int) -> None:
        self._redis: Any = redis
        self._envelope = envelope
        self._retention = retention_days * 24 * 3600
        self._replace = redis.register_script(_REPLACE)

    async def read(self, conversation: ConversationKey) -> Summary:
        """The conversation's summary, empty when there is none."""
        key = keys.summary(conversation)
        sealed, forgotten = await self._redis.mget(key, keys.forgotten(conversation))
        none = Summary(forgotten=int(forgotten or 0))
        if sealed is None:
            return none
        try:
            stored = Summary(**json.loads(self._envelope.open(sealed, key)))
        except (Undecipherable, TypeError) as error:  # another key, or another version's fields
            log.error("a summary cannot be opened and is made again", reason=str(error))
            return none
        return replace(stored, forgotten=none.forgotten)

    async def replace(self, conversation: ConversationKey, summary: Summary) -> bool:
        """Keep this one; False, and nothing is kept, when somebody was forgotten since its forerunner was
        read. Its time is counted from the first: what it tells may be as old as that.
        """
        key = keys.summary(conversation)
        sealed = self._envelope.seal(json.dumps(asdict(summary), ensure_ascii=False), key)
        where = [key, keys.forgotten(conversation)]
        return bool(await self._replace(keys=where, args=[summary.forgotten, sealed, self._retention]))

    async def forget(self, conversation: ConversationKey) -> None:
        """Delete it, and refuse one that is being made: the turns that are left make the next one."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(keys.summary(conversation))
            pipe.incr(keys.forgotten(conversation))
            pipe.expire(keys.forgotten(conversation), self._retention)
            await pipe.execute()
