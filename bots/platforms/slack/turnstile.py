"""What all processes of frontdesk share of Slack's limits: whose turn it is, and where Slack wants nothing.

Kept in Redis, by its clock. While Redis is away, every process goes by what it knows itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bots import keys
from engine.log import logger

# Milliseconds, and what they are: see `Standing`. A measure that leaks at a steady rate is remembered by the
# time at which it will be empty (the generic cell rate algorithm). It keeps a place only for who waits a
# moment: those that gave up their places would hold up all who come after them.
_TAKE = """
local held = redis.call('PTTL', KEYS[1])
if held > 0 then return {held, 0} end
local interval, at_once, longest, takes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
if interval == 0 then return {0, 2} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local empty = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), now)
local wait = math.max(0, empty - (at_once - 1) * interval - now)
if wait > longest then return {wait, 1} end
if takes == '1' then
  redis.call('SET', KEYS[2], string.format('%.0f', empty + interval), 'PX', empty - now + interval)
end
return {wait, 2}
"""

log = logger("bots.slack")


class Standing(IntEnum):
    """What the seconds of a `Turn` are."""

    HELD = 0
    """So long Slack wants no such call."""
    CROWDED = 1
    """So long others have their turns; no place is kept."""
    OURS = 2
    """So long it is until our turn, which is kept."""


@dataclass(frozen=True, slots=True)
class Turn:
    """When a call may be made."""

    seconds: float
    standing: Standing


class Turnstile:
    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis
        self._take = self._redis.register_script(_TAKE)

    async def take(
        self,
        workspace: str,
        method: str,
        channel: str,
        *,
        at_once: int,
        a_second: float,
        longest: float,
        takes: bool = True,
    ) -> Turn:
        """A turn, if there is one within `longest` seconds.

        Parameters
          a_second: how many calls the channel takes in the long run; 0 when they are not counted
          takes: False only to look
        """
        names = [keys.slack_hold(workspace, method, channel), keys.slack_turn(workspace, channel)]
        interval = round(1000 / a_second) if a_second else 0
        try:
            milliseconds, standing = await self._take(
                keys=names, args=[interval, at_once, round(longest * 1000), int(takes)]
            )
        except RedisError as error:
            log.debug("the pace of others is not known", reason=str(error))
            return Turn(0.0, Standing.OURS)
        return Turn(milliseconds / 1000, Standing(standing))

    async def hold(self, workspace: str, method: str, channel: str, seconds: float) -> None:
        """Slack said how long to wait."""
        try:
            key = keys.slack_hold(workspace, method, channel)
            await self._redis.set(key, 1, px=max(1, round(seconds * 1000)))
        except RedisError as error:
            log.warning("others are not told that Slack wants to wait", reason=str(error))
