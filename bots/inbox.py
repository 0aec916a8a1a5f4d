"""The durable inbox: a message is accepted once, and gone only when its reply is out.

A Redis Stream with one group. Event ids are claimed and the entry added in one Lua step; the entry stays
pending until `finish`, which appends to the history, acknowledges and deletes in one step, and refuses a
worker whose lease has passed to another. The stream is never capped: trimming loses what nobody read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bots import keys
from bots.envelope import Envelope
from bots.errors import LeaseLost, Undecipherable
from bots.history import HistoryEntry
from bots.message import Message
from engine.log import logger

CLAIM_SECONDS = 24 * 3600
_CONTEXT = "inbox"
_CONSUMER = "worker"

log = logger("bots.inbox")

# KEYS: inbox, claims…   ARGV: claim seconds, sealed message
_PUT = """
for i = 2, #KEYS do if redis.call('EXISTS', KEYS[i]) == 1 then return 0 end end
for i = 2, #KEYS do redis.call('SET', KEYS[i], 1, 'EX', ARGV[1]) end
redis.call('XADD', KEYS[1], '*', 'm', ARGV[2])
return 1
"""
# KEYS: lease, inbox, history, author, turn
# ARGV: fence, group, entry id, retention seconds, conversation, then pairs of sealed turn and author index
_FINISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 6, #ARGV, 2 do redis.call('XADD', KEYS[3], '*', 'e', ARGV[i], 'a', ARGV[i + 1]) end
if #ARGV >= 6 then
  redis.call('EXPIRE', KEYS[3], ARGV[4])
  redis.call('SADD', KEYS[4], ARGV[5])
  redis.call('EXPIRE', KEYS[4], ARGV[4])
end
redis.call('XACK', KEYS[2], ARGV[2], ARGV[3])
redis.call('XDEL', KEYS[2], ARGV[3])
redis.call('DEL', KEYS[5])
return 1
"""
# KEYS: lease, inbox, dead letters, turn   ARGV: fence, group, entry id, sealed message, reason, author index
_BURY = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('XADD', KEYS[3], '*', 'm', ARGV[4], 'reason', ARGV[5], 'a', ARGV[6])
redis.call('XACK', KEYS[2], ARGV[2], ARGV[3])
redis.call('XDEL', KEYS[2], ARGV[3])
redis.call('DEL', KEYS[4])
return 1
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as it lies in the inbox."""

    id: str
    message: Message


class Inbox:
    """Put from anywhere; take, finish and bury only under the worker's lease (`fence`)."""

    def __init__(self, redis: Redis, blocking: Redis, envelope: Envelope, retention_days: int) -> None:
        self._redis: Any = redis
        self._blocking: Any = blocking  # redis-py's default timeout of 5 s would cut a blocking read
        self._envelope = envelope
        self._retention = retention_days * 24 * 3600
        self._put = redis.register_script(_PUT)
        self._finish = redis.register_script(_FINISH)
        self._bury = redis.register_script(_BURY)

    async def put(self, message: Message, also: Sequence[str] = ()) -> bool:
        """Accept a message; False when it, or the event behind it, was accepted before.

        `also` names further event ids by which the platform may deliver the same message again.
        """
        claims = [keys.claim(event_id) for event_id in dict.fromkeys((message.id, *also))]
        sealed = self._envelope.seal(message.to_json(), _CONTEXT)
        return bool(await self._put(keys=[keys.INBOX, *claims], args=[CLAIM_SECONDS, sealed]))

    async def prepare(self) -> None:
        """Create the group; it reads from the beginning, so that nothing put earlier is missed."""
        try:
            await self._redis.xgroup_create(keys.INBOX, keys.WORKERS, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def leftovers(self) -> list[Entry]:
        """What an earlier worker took and did not finish, oldest first."""
        found: list[Entry] = []
        start: Any = "0-0"
        while True:
            start, entries, *_ = await self._redis.xautoclaim(
                keys.INBOX, keys.WORKERS, _CONSUMER, min_idle_time=0, start_id=start, count=100
            )
            found += [entry for raw in entries if (entry := await self._open(*raw))]
            if start in (b"0-0", "0-0"):
                return found

    async def take(self, count: int, wait_ms: int) -> list[Entry]:
        """The next messages, oldest first; empty after `wait_ms` without any."""
        try:
            streams = await self._blocking.xreadgroup(
                keys.WORKERS, _CONSUMER, {keys.INBOX: ">"}, count=count, block=wait_ms
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            log.error("the inbox's group is gone: Redis lost data. It is made again and read from the start.")
            await self.prepare()
            return []
        raw = [entry for _, entries in streams for entry in entries]
        return [entry for pair in raw if (entry := await self._open(*pair))]

    async def finish(self, entry: Entry, fence: str, turns: Sequence[HistoryEntry] = ()) -> None:
        """The reply is out: append the turns to the history and drop the entry, in one step.

        Raises `LeaseLost` when another worker has the lease; nothing is changed then.
        """
        message = entry.message
        author = turns[0].author_index if turns else "-"
        done = await self._finish(
            keys=[
                keys.WORKER_LEASE,
                keys.INBOX,
                keys.history(message.conversation),
                keys.conversations(author),
                keys.turn(message.id),
            ],
            args=[
                fence,
                keys.WORKERS,
                entry.id,
                self._retention,
                str(message.conversation),
                *(part for turn in turns for part in (turn.sealed, turn.author_index)),
            ],
        )
        if not done:
            raise LeaseLost

    async def bury(self, entry: Entry, fence: str, reason: str) -> None:
        """Give a message up: move it to the dead letters. Raises `LeaseLost` like `finish`."""
        sealed = self._envelope.seal(entry.message.to_json(), _CONTEXT)
        where = [keys.WORKER_LEASE, keys.INBOX, keys.DEAD_LETTERS, keys.turn(entry.message.id)]
        author = self._envelope.author_index(entry.message.conversation, entry.message.author.id)
        if not await self._bury(keys=where, args=[fence, keys.WORKERS, entry.id, sealed, reason, author]):
            raise LeaseLost

    async def backlog(self) -> int:
        """Messages that are not finished."""
        return int(await self._redis.xlen(keys.INBOX))

    async def _open(self, entry_id: bytes, fields: dict[bytes, bytes] | None) -> Entry | None:
        if not fields:  # deleted behind our back; there is nothing left to answer
            return None
        try:
            return Entry(entry_id.decode(), Message.from_json(self._envelope.open(fields[b"m"], _CONTEXT)))
        except (Undecipherable, KeyError, TypeError) as error:  # another key, or another version's fields
            log.error(
                "an inbox entry cannot be opened and stays where it is", entry=entry_id, reason=str(error)
            )
            return None
