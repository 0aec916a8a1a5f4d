"""Messages that were given up: kept sealed for the retention time, to be looked at and tried again."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.errors import Undecipherable
from bots.inbox import CLAIM_SECONDS, CONTEXT
from bots.message import ConversationKey, Message
from bots.partitions import partition_of

_PAGE = 100
_ENTRY_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

# The letter is taken and the entry added in one step, so that two who do this at once add one entry. The turn
# begins anew, but knows that there were tries: its first post looks for what earlier ones have shown.
# KEYS: dead letters, partition, turn   ARGV: letter, platform, sealed message, seconds that a turn is kept
_REPLAY = """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[3], 'tries', 1)
redis.call('EXPIRE', KEYS[3], ARGV[4])
redis.call('XADD', KEYS[2], '*', 'm', ARGV[3], 'p', ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up. Without `message` it cannot be opened, and `problem` says why."""

    id: str
    reason: str
    attempts: int
    """0 where that was not kept."""
    message: Message | None
    problem: str = ""

    @property
    def buried_at(self) -> float:
        """Unix time."""
        return int(self.id.partition("-")[0]) / 1000


class DeadLetters:
    """List, show, replay, drop, trim and forget. Adding happens in `Inbox.bury`, in the step that takes the
    entry out.
    """

    def __init__(self, redis: Redis, envelope: Envelope, retention_days: int) -> None:
        self._redis: Any = redis
        self._envelope = envelope
        self._retention = retention_days * 24 * 3600
        self._replay = redis.register_script(_REPLAY)

    async def list(self) -> AsyncIterator[DeadLetter]:
        """Every letter that is there now, the oldest first; not those that come meanwhile."""
        newest = await self._redis.xrevrange(keys.DEAD_LETTERS, count=1)
        start, last = "-", newest[0][0] if newest else None
        while last and (page := await self._redis.xrange(keys.DEAD_LETTERS, start, last, count=_PAGE)):
            for entry_id, fields in page:
                yield self._open(entry_id.decode(), fields)
            start = f"({page[-1][0].decode()}"

    async def show(self, letter_id: str) -> DeadLetter | None:
        """One letter; None when there is none of this id."""
        if not _ENTRY_ID.fullmatch(letter_id):
            return None
        found = await self._redis.xrange(keys.DEAD_LETTERS, letter_id, letter_id)
        return self._open(letter_id, found[0][1]) if found else None

    async def replay(self, letter_id: str) -> bool:
        """Have the message answered once more: move it back into the inbox, in one step.

        False when the letter is not there, or no more: two who replay it at once make one entry. Raises
        `Undecipherable`.
        """
        letter = await self.show(letter_id)
        if letter is None:
            return False
        if (message := letter.message) is None:
            raise Undecipherable(letter.problem)
        where = [
            keys.DEAD_LETTERS,
            keys.inbox(partition_of(message.conversation)),
            keys.turn(message.id),
        ]
        # Whoever has it answered does not mean the limit that it exceeded then.
        sealed = self._envelope.seal(replace(message, over=None).to_json(), CONTEXT)
        platform = message.conversation.platform
        return bool(await self._replay(keys=where, args=[letter_id, platform, sealed, CLAIM_SECONDS]))

    async def drop(self, letter_id: str) -> bool:
        """Delete a letter; False when it is not there."""
        if not _ENTRY_ID.fullmatch(letter_id):
            return False
        return bool(await self._redis.xdel(keys.DEAD_LETTERS, letter_id))

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

    def _open(self, letter_id: str, fields: Mapping[bytes, bytes]) -> DeadLetter:
        reason = fields.get(b"reason", b"").decode(errors="replace")
        attempts = int(fields.get(b"n", 0))
        try:
            message = Message.from_json(self._envelope.open(fields[b"m"], CONTEXT))
        except (Undecipherable, KeyError, TypeError) as error:  # another key, or another version's fields
            return DeadLetter(letter_id, reason, attempts, None, str(error))
        return DeadLetter(letter_id, reason, attempts, message)
