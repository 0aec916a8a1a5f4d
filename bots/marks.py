"""How far each conversation was read: the newest message that was handled.

After a gap in the connection, a platform that replays nothing is read back from there. A mark may lie a
little behind: what is read back twice is claimed once. Knows neither platforms nor what a message says.
"""

from __future__ import annotations

import time
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.message import ConversationKey

LAG_SECONDS = 5.0
"""A mark that was written so lately stays: writing each would cost as much as storing the message."""
_MOST_REMEMBERED = 10_000

# Ids grow with time: snowflakes as numbers, Slack's timestamps as texts of one length.
_ADVANCE = """
local old = redis.call("HGET", KEYS[1], ARGV[1])
if old and (#old > #ARGV[2] or (#old == #ARGV[2] and old >= ARGV[2])) then return 0 end
redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class Marks:
    """One platform's marks, a Redis hash: one for each conversation in which the bot was ever addressed."""

    def __init__(self, redis: Redis, platform: str) -> None:
        self._redis: Any = redis
        self._key = keys.marks(platform)
        self._advance = redis.register_script(_ADVANCE)
        self._written: dict[ConversationKey, float] = {}

    async def advance(self, conversation: ConversationKey, message_id: str) -> None:
        """This message was taken. Never goes back; call it only when nothing can lose the message."""
        now = time.monotonic()
        if now - self._written.get(conversation, -LAG_SECONDS) < LAG_SECONDS:
            return
        await self._advance(keys=[self._key], args=[str(conversation), message_id])
        if len(self._written) >= _MOST_REMEMBERED:
            self._written.clear()
        self._written[conversation] = now

    async def has(self, conversation: ConversationKey) -> bool:
        """Whether the bot was ever addressed there."""
        return bool(await self._redis.hexists(self._key, str(conversation)))

    async def all(self) -> dict[ConversationKey, str]:
        """Every conversation and its newest handled message, the most recent first."""
        found = await self._redis.hgetall(self._key)
        marks = {ConversationKey.parse(name.decode()): mark.decode() for name, mark in found.items()}
        return dict(sorted(marks.items(), key=lambda item: (len(item[1]), item[1]), reverse=True))

    async def drop(self, conversation: ConversationKey) -> None:
        """The conversation's channel is gone."""
        self._written.pop(conversation, None)
        await self._redis.hdel(self._key, str(conversation))
