"""The durable inbox: a message is accepted once, and gone only when its reply is out.

A Redis Stream for each partition, which one worker at a time reads: so there is no consumer group, and
nothing to be written for reading. Event ids are claimed, limits counted and the entry added in one Lua
step; the entry stays until `finish`, which appends to the history and deletes in one step, and refuses a
worker whose partition has passed to another. A stream is never capped: trimming loses what nobody read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.errors import LeaseLost, Undecipherable
from bots.history import HistoryEntry
from bots.limits import Limits
from bots.message import Change, Limit, Message, Receipt
from bots.partitions import partition_of
from engine.log import logger

CLAIM_SECONDS = 24 * 3600
_ADOPT_COUNT = 100
CONTEXT = "inbox"
"""What messages are sealed for."""

log = logger("bots.inbox")

# KEYS: inbox, counters, the claims, then two for each limit: what counts and who was told
# ARGV: number of claims, claim seconds, platform, sealed message, then triples of limit name, most, seconds
# Gives a `Receipt`.
_PUT = """
local claims = tonumber(ARGV[1])
for i = 1, claims do if redis.call('EXISTS', KEYS[2 + i]) == 1 then return 0 end end
for i = 1, claims do redis.call('SET', KEYS[2 + i], 1, 'EX', ARGV[2]) end
local over, key = '', 3 + claims
for i = 5, #ARGV, 3 do
  local most, is_over = tonumber(ARGV[i + 1]), false
  if ARGV[i] == 'queue' then
    is_over = redis.call('XLEN', KEYS[1]) >= most
  elseif ARGV[i] == 'tokens' then
    is_over = tonumber(redis.call('GET', KEYS[key]) or 0) >= most
  else
    local used = redis.call('INCR', KEYS[key])
    if used == 1 then redis.call('EXPIRE', KEYS[key], ARGV[i + 2]) end
    is_over = used > most
  end
  if is_over then
    if not redis.call('SET', KEYS[key + 1], 1, 'NX', 'EX', ARGV[i + 2]) then
      redis.call('HINCRBY', KEYS[2], 'dropped', 1)
      return -1
    end
    redis.call('HINCRBY', KEYS[2], 'told', 1)
    over = ARGV[i]
    break
  end
  key = key + 2
end
redis.call('XADD', KEYS[1], '*', 'm', ARGV[4], 'p', ARGV[3], 'o', over)
return 1
"""
# KEYS: inbox, claim   ARGV: claim seconds, sealed change
_CHANGE = """
if #KEYS > 1 and not redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[1]) then return 0 end
redis.call('XADD', KEYS[1], '*', 'c', ARGV[2])
return 1
"""
# KEYS: leases, inbox, counters, turn, history, author, tokens of the day
# ARGV: partition, token, number of entries, entries…, used tokens, retention seconds, conversation,
#       then pairs of sealed turn and author index
_FINISH = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if redis.call('XDEL', KEYS[2], ARGV[4]) == 0 then return 1 end
local at = 3 + tonumber(ARGV[3])
for i = 5, at do redis.call('XDEL', KEYS[2], ARGV[i]) end
redis.call('DEL', KEYS[4])
redis.call('HINCRBY', KEYS[3], 'answered', 1)
if tonumber(ARGV[at + 1]) > 0 then
  redis.call('INCRBY', KEYS[7], ARGV[at + 1])
  redis.call('EXPIRE', KEYS[7], 172800)
end
if #ARGV > at + 3 then
  for i = at + 4, #ARGV, 2 do redis.call('XADD', KEYS[5], '*', 'e', ARGV[i], 'a', ARGV[i + 1]) end
  redis.call('EXPIRE', KEYS[5], ARGV[at + 2])
  redis.call('SADD', KEYS[6], ARGV[at + 3])
  redis.call('EXPIRE', KEYS[6], ARGV[at + 2])
end
return 1
"""
# KEYS: leases, inbox, counters, turn, dead letters
# ARGV: partition, token, sealed message, reason, author index, platform, attempts, entries…
_BURY = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if redis.call('XDEL', KEYS[2], ARGV[8]) == 0 then return 1 end
redis.call('XADD', KEYS[5], '*', 'm', ARGV[3], 'reason', ARGV[4], 'a', ARGV[5], 'p', ARGV[6], 'n', ARGV[7])
for i = 9, #ARGV do redis.call('XDEL', KEYS[2], ARGV[i]) end
redis.call('DEL', KEYS[4])
redis.call('HINCRBY', KEYS[3], 'dead', 1)
return 1
"""
# KEYS: leases, inbox   ARGV: partition, token, entry
_DROP = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('XDEL', KEYS[2], ARGV[3])
return 1
"""
# KEYS: old inbox, inbox   ARGV: entry, sealed message, platform
_MOVE = """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', 'm', ARGV[2], 'p', ARGV[3], 'o', '')
return 1
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message, or what happened to one, as it lies in the inbox."""

    id: str
    partition: int
    content: Message | Change | None
    """None where it cannot be opened: it stays where it is."""

    @property
    def order(self) -> tuple[int, int]:
        """Grows from entry to entry within a partition."""
        milliseconds, _, number = self.id.partition("-")
        return int(milliseconds), int(number)


class Inbox:
    """Put from anywhere; take, finish and bury only with a partition's token."""

    def __init__(
        self, redis: Redis, blocking: Redis, envelope: Envelope, retention_days: int, limits: Limits
    ) -> None:
        self._redis: Any = redis
        self._blocking: Any = blocking  # redis-py's default timeout of 5 s would cut a blocking read
        self._envelope, self._limits = envelope, limits
        self._retention = retention_days * 24 * 3600
        self._put = redis.register_script(_PUT)
        self._put_change = redis.register_script(_CHANGE)
        self._finish = redis.register_script(_FINISH)
        self._bury = redis.register_script(_BURY)
        self._drop = redis.register_script(_DROP)
        self._move = redis.register_script(_MOVE)
        self._adopt_from = b"-"

    async def put(self, message: Message, also: Sequence[str] = ()) -> Receipt:
        """Accept a message, unless it, or the event behind it, was accepted before, or it exceeds a limit.
        The first beyond a limit is accepted, to be told.

        `also` names further event ids by which the platform may deliver the same message again.
        """
        claims = [keys.claim(event_id) for event_id in dict.fromkeys((message.id, *also))]
        limits = self._limits.of(message)
        stream = keys.inbox(partition_of(message.conversation))
        done = await self._put(
            keys=[
                stream,
                keys.COUNTERS,
                *claims,
                *(key for limit in limits for key in (limit.key or stream, limit.told)),
            ],
            args=[
                len(claims),
                CLAIM_SECONDS,
                message.conversation.platform,
                self._envelope.seal(message.to_json(), CONTEXT),
                *(part for limit in limits for part in (limit.name, limit.most, limit.seconds)),
            ],
        )
        return Receipt(done)

    async def put_change(self, change: Change, event_id: str = "") -> None:
        """Accept what happened to a message that was put before; with `event_id` once."""
        claims = [keys.claim(event_id)] if event_id else []
        stream = keys.inbox(partition_of(change.conversation))
        sealed = self._envelope.seal(change.to_json(), CONTEXT)
        await self._put_change(keys=[stream, *claims], args=[CLAIM_SECONDS, sealed])

    async def take(self, after: Mapping[int, str], count: int, wait_ms: int) -> list[Entry]:
        """The next entries of these partitions, oldest first; empty after `wait_ms` without any.

        Parameters
          after: by partition, the id of the last entry that was taken; `0` to begin with
          count: of each partition
        """
        names = {keys.inbox(number).encode(): number for number in after}
        streams = {keys.inbox(number): last for number, last in after.items()}
        found = await self._blocking.xread(streams, count=count, block=wait_ms)
        return [
            self._opened(entry_id.decode(), names[name], fields)
            for name, entries in found
            for entry_id, fields in entries
        ]

    async def finish(
        self, entries: Sequence[Entry], token: str, turns: Sequence[HistoryEntry] = (), *, tokens: int = 0
    ) -> None:
        """The reply is out: append the turns to the history and drop the entries, in one step.

        Parameters
          entries: the message, and what happened to it meanwhile
          tokens: that the answer cost, for the limit

        Raises `LeaseLost` when another worker has the partition; nothing is changed then.
        """
        first = entries[0]
        message = first.content
        assert isinstance(message, Message)
        author = turns[0].author_index if turns else "-"
        done = await self._finish(
            keys=[
                keys.LEASES,
                keys.inbox(first.partition),
                keys.COUNTERS,
                keys.turn(message.id),
                keys.history(message.conversation),
                keys.conversations(author),
                self._limits.tokens_key(message.conversation),
            ],
            args=[
                first.partition,
                token,
                len(entries),
                *(entry.id for entry in entries),
                tokens if self._limits.counts_tokens else 0,
                self._retention,
                str(message.conversation),
                *(part for turn in turns for part in (turn.sealed, turn.author_index)),
            ],
        )
        if not done:
            raise LeaseLost

    async def bury(self, entries: Sequence[Entry], token: str, reason: str, attempts: int) -> None:
        """Give a message up: move it to the dead letters. Raises `LeaseLost` like `finish`."""
        first = entries[0]
        message = first.content
        assert isinstance(message, Message)
        done = await self._bury(
            keys=[
                keys.LEASES,
                keys.inbox(first.partition),
                keys.COUNTERS,
                keys.turn(message.id),
                keys.DEAD_LETTERS,
            ],
            args=[
                first.partition,
                token,
                self._envelope.seal(message.to_json(), CONTEXT),
                reason,
                self._envelope.author_index(message.conversation, message.author.id),
                message.conversation.platform,
                attempts,
                *(entry.id for entry in entries),
            ],
        )
        if not done:
            raise LeaseLost

    async def drop(self, entry: Entry, token: str) -> None:
        """A change came too late: it is done with. Raises `LeaseLost` like `finish`."""
        where = [keys.LEASES, keys.inbox(entry.partition)]
        if not await self._drop(keys=where, args=[entry.partition, token, entry.id]):
            raise LeaseLost

    async def adopt(self) -> int:
        """Bring some of what an older version's processes left into the partitions; return how many."""
        if await self._redis.exists(keys.OLD_LEASE):  # such a worker still answers it
            return 0
        moved = 0
        left = await self._redis.xrange(keys.OLD_INBOX, min=self._adopt_from, count=_ADOPT_COUNT)
        for entry_id, fields in left:
            found = self._open(fields)
            if isinstance(found, Message):
                where = [keys.OLD_INBOX, keys.inbox(partition_of(found.conversation))]
                args = [entry_id, fields[b"m"], found.conversation.platform]
                moved += int(await self._move(keys=where, args=args))
            else:
                self._adopt_from = b"(" + entry_id
        if moved:
            log.info("messages that an older version left were taken over", count=moved)
        return moved

    async def exceeds_tokens(self, message: Message) -> bool:
        """Whether the workspace has used up today's tokens, since the message was accepted."""
        if not self._limits.counts_tokens:
            return False
        used = await self._redis.get(self._limits.tokens_key(message.conversation))
        return self._limits.exceeds_tokens(int(used or 0))

    async def backlog(self) -> int:
        """Messages that are not finished, and changes of them."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for stream in keys.all_inboxes():
                pipe.xlen(stream)
            return sum(await pipe.execute())

    def _opened(self, entry_id: str, partition: int, fields: Mapping[bytes, bytes]) -> Entry:
        found = self._open(fields)
        if isinstance(found, Message) and (over := fields.get(b"o")):
            found = replace(found, over=cast(Limit, over.decode()))
        return Entry(entry_id, partition, found)

    def _open(self, fields: Mapping[bytes, bytes]) -> Message | Change | None:
        try:
            if b"c" in fields:
                return Change.from_json(self._envelope.open(fields[b"c"], CONTEXT))
            return Message.from_json(self._envelope.open(fields[b"m"], CONTEXT))
        except (Undecipherable, KeyError, TypeError) as error:  # another key, or another version's fields
            log.error("an inbox entry cannot be opened and stays where it is", reason=str(error))
            return None
