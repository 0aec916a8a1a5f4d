"""Replies for those who wait on our own side: the web page and the terminal.

The worker writes sealed events to a short-lived Redis Stream a conversation; whoever shows them reads
from there and can come back where it left off.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.errors import FileRefused
from bots.message import Attachment, ConversationKey, Message, Part, Provisional, Reply
from engine.types import TextFile

_LIFETIME_SECONDS = 3600
_MOST_EVENTS = 2000


class Relay:
    """Both ends of the stream.

    Events: `{"kind": …, "turn": …}`, and with

    - `typing`: nothing more
    - `progress`: `text`, `done`, `total`
    - `text`: the whole `text` so far
    - `file`: `name`, `text`, `nonce`; one nonce is one file
    - `done`: `text`, `question` as it was answered, `options`, and what else a `Reply` has but its files
    - `post`: `text` that nobody asked for
    - `deleted`: the question was taken back
    """

    def __init__(self, redis: Redis, blocking: Redis, envelope: Envelope) -> None:
        self._redis: Any = redis
        self._blocking: Any = blocking
        self._envelope = envelope

    async def publish(self, conversation: ConversationKey, event: dict[str, Any]) -> None:
        """Append an event. Old ones are dropped: this is a view, the history holds what was said."""
        key = keys.relay(conversation)
        sealed = self._envelope.seal(json.dumps(event, ensure_ascii=False), key)
        await self._redis.xadd(key, {"e": sealed}, maxlen=_MOST_EVENTS, approximate=True)
        await self._redis.expire(key, _LIFETIME_SECONDS)

    async def position(self, conversation: ConversationKey) -> str:
        """The id of the newest event: follow from here to see only what comes."""
        newest = await self._redis.xrevrange(keys.relay(conversation), count=1)
        return newest[0][0].decode() if newest else "0-0"

    async def follow(
        self, conversation: ConversationKey, after: str, wait_ms: int = 15_000
    ) -> AsyncGenerator[tuple[str, dict[str, Any]] | None, None]:
        """Events behind `after` with their ids, for ever; None whenever `wait_ms` passed without any."""
        key = keys.relay(conversation)
        while True:
            streams = await self._blocking.xread({key: after}, block=wait_ms, count=100)
            entries = [entry for _, found in streams for entry in found]
            if not entries:
                yield None
            for entry_id, fields in entries:
                after = entry_id.decode()
                yield after, json.loads(self._envelope.open(fields[b"e"], key))


class RelaySender:
    """The sending half of the web page and the terminal."""

    limit = 10_000_000
    edit_seconds = 0.05
    shows_citations = True

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def typing(self, message: Message) -> None:
        await self._relay.publish(message.conversation, {"kind": "typing", "turn": message.id})

    async def post(self, message: Message, text: str, *, nonce: str, is_retry: bool, is_growing: bool) -> str:
        await self.edit(message, message.id, text, is_growing=is_growing)
        return message.id

    async def edit(self, message: Message, ref: str, text: str, *, is_growing: bool) -> None:
        """The whole text so far: showing it again changes nothing."""
        kind = "post" if _is_unasked(message) else "text"
        await self._relay.publish(message.conversation, {"kind": kind, "turn": message.id, "text": text})

    async def post_file(self, message: Message, file: TextFile, *, nonce: str, is_retry: bool) -> str:
        event = {"kind": "file", "turn": message.id, "nonce": nonce, **asdict(file)}
        await self._relay.publish(message.conversation, event)
        return message.id

    async def delete(self, message: Message, ref: str) -> None:
        """The last event says so."""

    async def fetch(self, message: Message, file: Attachment) -> bytes:
        raise FileRefused("not_fetched", "the web page and the terminal send files with the message")

    async def name_of(self, message: Message) -> str:
        return ""

    async def progress(self, message: Message, provisional: Provisional) -> bool:
        event = {"kind": "progress", "turn": message.id, "text": provisional.text}
        await self._relay.publish(message.conversation, {**event, **asdict(provisional.progress)})
        return True

    async def finish(
        self, message: Message, parts: Sequence[Part], reply: Reply, options: Sequence[str]
    ) -> None:
        if _is_unasked(message):
            return
        if not parts and reply.decision == "stopped":  # the question was taken back
            await self._relay.publish(message.conversation, {"kind": "deleted", "turn": message.id})
            return
        shown = {"text": "".join(part.text for part in parts), "options": list(options)}
        # A page that sent an edit sees by the question whether it came in time.
        event = {"kind": "done", "turn": message.id, "question": message.text, **asdict(reply), **shown}
        del event["files"]
        await self._relay.publish(message.conversation, event)

    def link_to(self, message: Message) -> str:
        return ""

    async def close(self) -> None:
        """Nothing is held."""


def _is_unasked(message: Message) -> bool:
    """Whether the bot speaks by itself, so that nobody waits for an end."""
    return bool(message.job or message.notice)
