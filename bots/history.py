"""Per-conversation history: an append-only Redis Stream of sealed turns, trimmed by age alone.

What goes to a model is chosen from a copy (`engine.chunker`); nothing is ever written back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.errors import Undecipherable
from bots.message import Author, ConversationKey, Message, Reply
from engine.log import logger
from engine.types import Role

log = logger("bots.history")


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that was said, sensitive values replaced by placeholders."""

    role: Role
    content: str
    author: Author
    citations: tuple[dict[str, Any], ...] = ()
    id: str = ""
    """The history's, which grows from turn to turn; empty before the turn is in it."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A turn ready to be appended: sealed, and its author's keyed name."""

    sealed: bytes
    author_index: str


class History:
    """Read, trim and forget. Appending happens in `Inbox.finish`, in the step that ends a message."""

    def __init__(self, redis: Redis, envelope: Envelope, retention_days: int) -> None:
        self._redis: Any = redis
        self._envelope = envelope
        self._retention = retention_days * 24 * 3600

    def entries(self, message: Message, reply: Reply) -> list[HistoryEntry]:
        """The message and its reply, sealed for their conversation. Both belong to the message's author."""
        citations = tuple(asdict(citation) for citation in reply.citations)
        return [
            self.entry(message.conversation, Turn("user", _said(message), message.author)),
            self.entry(message.conversation, Turn("assistant", reply.text, message.author, citations)),
        ]

    def entry(self, conversation: ConversationKey, turn: Turn) -> HistoryEntry:
        """One turn, sealed for its conversation."""
        author = {"id": turn.author.id, "name": turn.author.name}
        fields = {"role": turn.role, "content": turn.content, "author": author, "citations": turn.citations}
        sealed = self._envelope.seal(json.dumps(fields, ensure_ascii=False), keys.history(conversation))
        return HistoryEntry(sealed, self._envelope.author_index(conversation, turn.author.id))

    async def append(self, conversation: ConversationKey, turns: list[Turn]) -> None:
        """Add turns outside of a message's life: given context, as `ask --history` has it."""
        for turn in turns:
            entry = self.entry(conversation, turn)
            await self._redis.xadd(keys.history(conversation), {"e": entry.sealed, "a": entry.author_index})
        await self._redis.expire(keys.history(conversation), self._retention)

    async def recent(self, conversation: ConversationKey, count: int = 60) -> list[Turn]:
        """The newest turns within the retention time, oldest first."""
        found = await self._redis.xrevrange(keys.history(conversation), min=self._oldest(), count=count)
        return self._opened(conversation, reversed(found))

    async def after(self, conversation: ConversationKey, turn_id: str, count: int = 200) -> list[Turn]:
        """The first turns behind `turn_id` within the retention time, oldest first; all when it is empty."""
        start = f"({turn_id}" if turn_id and int(turn_id.split("-")[0]) >= self._oldest() else self._oldest()
        found = await self._redis.xrange(keys.history(conversation), min=start, count=count)
        return self._opened(conversation, found)

    def _oldest(self) -> int:
        """Milliseconds since 1970: what is older is over its time."""
        return int((time.time() - self._retention) * 1000)

    def _opened(self, conversation: ConversationKey, found: Iterable[Any]) -> list[Turn]:
        turns, key = [], keys.history(conversation)
        for entry_id, sealed in found:
            try:
                fields = json.loads(self._envelope.open(sealed[b"e"], key))
            except Undecipherable as error:
                log.error("a turn of the history cannot be opened and is left out", reason=str(error))
                continue
            author, citations = Author(**fields["author"]), tuple(fields["citations"])
            turns.append(Turn(fields["role"], fields["content"], author, citations, entry_id.decode()))
        return turns

    async def has(self, conversation: ConversationKey) -> bool:
        """Whether anything was said here that is remembered."""
        return bool(await self._redis.exists(keys.history(conversation)))

    async def purge(self) -> int:
        """Drop every turn older than the retention time; return how many."""
        dropped = 0
        async for key in self._redis.scan_iter(match=f"{keys.HISTORIES}*", count=500):
            dropped += await self._redis.xtrim(key, minid=self._oldest(), approximate=False)
        return dropped

    async def conversations(self, conversation: ConversationKey, author_id: str) -> list[ConversationKey]:
        """Where this author took part, in the workspace of `conversation`."""
        index = self._envelope.author_index(conversation, author_id)
        names = await self._redis.smembers(keys.conversations(index))
        return [ConversationKey.parse(name.decode()) for name in names]

    async def forget(self, conversation: ConversationKey, author_id: str) -> int:
        """Delete what this author said anywhere in the workspace, and the replies to it; return how many."""
        index = self._envelope.author_index(conversation, author_id)
        forgotten = 0
        for found in await self.conversations(conversation, author_id):
            forgotten += await self._forget_in(found, index)
        await self._redis.delete(keys.conversations(index))
        return forgotten

    async def _forget_in(self, conversation: ConversationKey, index: str) -> int:
        key = keys.history(conversation)
        found = await self._redis.xrange(key)
        mine = [entry_id for entry_id, fields in found if fields[b"a"].decode() == index]
        return int(await self._redis.xdel(key, *mine)) if mine else 0


def _said(message: Message) -> str:
    """The text; of a message without any what was sent."""
    return message.text or ", ".join(file.name for file in message.attachments)
