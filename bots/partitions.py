"""Which worker answers which conversations: 64 hash partitions, shared evenly among the workers that live.

Everything goes by Redis' clock. A worker shows that it lives by one entry in a hash, written once a second
when it has nothing to do; a partition's lease names its worker and a fencing token, and holds as long as
that worker lives. Every step that changes state compares the token in the same script, so that a worker
that was paused, and whose partitions went to others meanwhile, is refused.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import zlib
from dataclasses import dataclass
from typing import Any

from redis import Redis as SyncRedis
from redis.asyncio import Redis

from bots import keys
from bots.errors import LeaseLost
from bots.message import ConversationKey
from engine.log import logger

# How often a worker shows that it lives, and for how long others believe it: with work in hand, where
# somebody waits for whoever takes over, and without. Seconds.
BUSY_BEAT, BUSY_LIFE = 0.25, 0.9
IDLE_BEAT, IDLE_LIFE = 1.0, 1.5
LOOK_SECONDS = 0.1
# How long no worker that is here to stay may have been seen before a guest works.
GUEST_SECONDS = 10.0
_GUEST = "guest-"
# A worker that showed no life for so long is forgotten.
_FORGOTTEN_MS = 60_000

log = logger("bots.partitions")

# KEYS: workers, leases   ARGV: worker id, milliseconds to live (0: only look), in hand
_BEAT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], (now + ARGV[2]) .. ' ' .. ARGV[3])
end
return {now, redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}
"""
# KEYS: workers, leases, fence   ARGV: worker id, partitions…
# Takes those that nobody has who lives, and says which tokens they have now.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function lives(id)
  local state = redis.call('HGET', KEYS[1], id)
  local till = state and tonumber(string.match(state, '^%d+'))
  return till and till > now and till < now + 60000
end
local taken = {}
if not lives(ARGV[1]) then return taken end
for i = 2, #ARGV do
  local lease = redis.call('HGET', KEYS[2], ARGV[i])
  if not lease or not lives(string.match(lease, '^[^:]+')) then
    local token = ARGV[1] .. ':' .. redis.call('INCR', KEYS[3])
    redis.call('HSET', KEYS[2], ARGV[i], token)
    taken[#taken + 1] = ARGV[i]
    taken[#taken + 1] = token
  end
end
return taken
"""
# KEYS: leases   ARGV: pairs of partition and token
_RELEASE = """
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
"""


def partition_of(conversation: ConversationKey) -> int:
    """The partition that a conversation belongs to, the same for ever."""
    return zlib.crc32(str(conversation).encode()) % keys.PARTITIONS


@dataclass(frozen=True, slots=True)
class Survey:
    """Who lives and who has what: `in_hand` by the ids of the workers that live, tokens by partition."""

    in_hand: dict[str, int]
    leases: dict[int, str]
    dead: frozenset[str]

    def owner(self, partition: int) -> str | None:
        """The id of the living worker that has the partition."""
        found = self.leases.get(partition, "").partition(":")[0]
        return found if found in self.in_hand else None


async def survey(redis: Redis) -> Survey:
    """Look without taking part."""
    look: Any = redis.register_script(_BEAT)
    return _survey(await look(keys=[keys.WORKERS, keys.LEASES], args=["", 0, 0]))


def any_lives(redis: SyncRedis) -> bool:
    """Whether there is a worker, for who has no event loop."""
    found: Any = redis.register_script(_BEAT)(keys=[keys.WORKERS, keys.LEASES], args=["", 0, 0])
    return bool(_survey(found).in_hand)


class Partitions:
    """One worker's share. `tokens` are its partitions with their fencing tokens.

    A guest (a terminal that works for itself when nobody else does) has a share only while no worker that is
    here to stay lives.
    """

    def __init__(self, redis: Redis, *, is_guest: bool = False) -> None:
        self._redis: Any = redis
        self._is_guest = is_guest
        self.id = f"{_GUEST if is_guest else ''}{secrets.token_hex(8)}"
        self.tokens: dict[int, str] = {}
        self._beaten_at = float("-inf")
        self._life = IDLE_LIFE
        self._alone_since: float | None = None
        self._highest_fence = 0
        self._beat = redis.register_script(_BEAT)
        self._take = redis.register_script(_TAKE)
        self._release = redis.register_script(_RELEASE)
        self._lock = asyncio.Lock()

    async def look_after(self, in_hand: dict[int, int], *, takes: bool = True) -> None:
        """Show that we live if it is time, drop what others have, take and give back for an even share.

        Parameters
          in_hand: messages by partition; a partition with any is not given back
          takes: whether we want more
        """
        async with self._lock:
            is_busy = any(in_hand.values())
            is_due = time.monotonic() - self._beaten_at >= (BUSY_BEAT if is_busy else IDLE_BEAT)
            self._life = BUSY_LIFE if is_busy else IDLE_LIFE
            found = await self._look(in_hand, beats=is_due)
            share = self._share(found)
            if takes and len(self.tokens) < share:
                free = [number for number in range(keys.PARTITIONS) if found.owner(number) is None]
                await self._acquire(free, share - len(self.tokens))
            elif len(self.tokens) > share:
                idle = [number for number in self.tokens if not in_hand.get(number)]
                await self.release(idle[: len(self.tokens) - share])

    def token(self, partition: int) -> str:
        """The token under which the partition is ours. Raises `LeaseLost` when it is not."""
        if partition not in self.tokens:
            raise LeaseLost
        return self.tokens[partition]

    async def confirm(self, partition: int, token: str) -> None:
        """Raise `LeaseLost` unless the partition is ours under this token at this moment, as far as anybody
        can know.
        """
        if time.monotonic() - self._beaten_at >= self._life:
            async with self._lock:
                await self._look({}, beats=True)
        if self.tokens.get(partition) != token:
            raise LeaseLost

    async def release(self, numbers: list[int]) -> None:
        """Give partitions back."""
        pairs = [part for number in numbers for part in (number, self.tokens[number])]
        if pairs:
            await self._release(keys=[keys.LEASES], args=pairs)
        for number in numbers:  # only now: what is released and not known to be would have nobody
            self.tokens.pop(number, None)

    async def leave(self) -> None:
        """Give everything back and be gone."""
        await self.release(list(self.tokens))
        await self._redis.hdel(keys.WORKERS, self.id)

    def drop(self, partition: int, token: str) -> None:
        """Another has what we had under this token: forget it."""
        if self.tokens.get(partition) == token:
            del self.tokens[partition]

    async def _look(self, in_hand: dict[int, int], *, beats: bool) -> Survey:
        asked_at = time.monotonic()
        life_ms = int(self._life * 1000) if beats else 0
        args: list[str | int] = [self.id, life_ms, sum(in_hand.values())]
        found = _survey(await self._beat(keys=[keys.WORKERS, keys.LEASES], args=args))
        if beats:
            self._beaten_at = asked_at
        lost = [number for number, token in self.tokens.items() if found.leases.get(number) != token]
        for number in lost:
            del self.tokens[number]
        if lost:
            _tell_of_loss(lost, found)
        # What we have without knowing: the answer to a script was lost.
        prefix = f"{self.id}:"
        strays = {
            number: token
            for number, token in found.leases.items()
            if token.startswith(prefix) and number not in self.tokens
        }
        if strays:
            flat = [part for pair in strays.items() for part in pair]
            await self._release(keys=[keys.LEASES], args=flat)
        if found.dead:
            await self._redis.hdel(keys.WORKERS, *found.dead)
        return found

    def _share(self, found: Survey) -> int:
        """How many partitions are ours: even, the first by name get the remainder."""
        staying = sorted(worker for worker in found.in_hand if not worker.startswith(_GUEST))
        if self._is_guest:
            return 0 if not self._may_work_as_guest(bool(staying)) else self._even(sorted(found.in_hand))
        return self._even(staying)

    def _even(self, workers: list[str]) -> int:
        if self.id not in workers:
            return 0
        whole, remainder = divmod(keys.PARTITIONS, len(workers))
        return whole + (workers.index(self.id) < remainder)

    def _may_work_as_guest(self, is_needless: bool) -> bool:
        """Whether nobody who stays was seen for a while: one that was killed may be starting again."""
        now = time.monotonic()
        if is_needless:
            self._alone_since = now + GUEST_SECONDS
        return self._alone_since is None or now >= self._alone_since

    async def _acquire(self, free: list[int], count: int) -> None:
        # Where each begins differs, so that workers that start together do not all want the same.
        start = zlib.crc32(self.id.encode()) % keys.PARTITIONS
        wanted = sorted(free, key=lambda number: (number - start) % keys.PARTITIONS)[:count]
        if not wanted:
            return
        taken = await self._take(keys=[keys.WORKERS, keys.LEASES, keys.FENCE], args=[self.id, *wanted])
        for number, token in zip(taken[::2], taken[1::2], strict=True):
            self.tokens[int(number)] = token.decode()
            self._note_fence(int(token.decode().rpartition(":")[2]))

    def _note_fence(self, fence: int) -> None:
        if fence <= self._highest_fence:
            log.error("fencing tokens begin anew: Redis has lost data")
        self._highest_fence = fence


def _tell_of_loss(lost: list[int], found: Survey) -> None:
    if gone := [number for number in lost if number not in found.leases]:
        log.error("leases are gone: Redis has lost data. What is left is answered.", partitions=len(gone))
    if taken := [number for number in lost if number in found.leases]:
        log.warning("another worker has taken partitions over", partitions=taken)


def _survey(answer: list[Any]) -> Survey:
    now, workers, leases = answer
    states = {name.decode(): value.decode().split() for name, value in _pairs(workers)}
    return Survey(
        # Nobody lives for a minute ahead: Redis' clock was set back.
        in_hand={
            name: int(state[1]) for name, state in states.items() if 0 < int(state[0]) - now < _FORGOTTEN_MS
        },
        leases={int(number): token.decode() for number, token in _pairs(leases)},
        dead=frozenset(name for name, state in states.items() if abs(int(state[0]) - now) > _FORGOTTEN_MS),
    )


def _pairs(flat: Any) -> list[tuple[bytes, bytes]]:
    """A hash as a script returns it."""
    return list(flat.items()) if isinstance(flat, dict) else list(zip(flat[::2], flat[1::2], strict=True))
