"""The terminal: one person, one conversation, answers as they grow."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from bots.adapter import Receive
from bots.message import Attachment, Author, ConversationKey, Message
from bots.relay import Relay


def _user_name() -> str:
    """Who sits here; a container may run under a number that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "user"


class Terminal:
    """Sends what is typed and follows the relay until the answer is done."""

    def __init__(self, receive: Receive, relay: Relay, *, session: str | None = None) -> None:
        self._receive, self._relay = receive, relay
        self.author = Author(_user_name())
        self.conversation = ConversationKey("terminal", "local", session or uuid.uuid4().hex)

    async def ask(
        self, text: str, files: Sequence[Attachment] = ()
    ) -> AsyncGenerator[str | dict[str, Any], None]:
        """Yield `progress` events, what is new of the answer's text, then the `done` event."""
        message = Message(
            id=f"terminal:{uuid.uuid4().hex}",
            conversation=self.conversation,
            author=self.author,
            text=text,
            is_private=True,
            attachments=tuple(files),
        )
        position = await self._relay.position(self.conversation)
        await self._receive(message, ())
        shown = ""
        async with aclosing(self._relay.follow(self.conversation, position)) as events:
            async for followed in events:
                if followed is None or followed[1].get("turn") != message.id:
                    continue
                event = followed[1]
                if event["kind"] == "progress":
                    yield event
                if event["kind"] in {"text", "done"} and event["text"].startswith(shown):
                    yield event["text"][len(shown) :]
                    shown = event["text"]
                if event["kind"] == "done":
                    yield event
                    return
