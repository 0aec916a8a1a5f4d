"""The terminal: one person, one conversation, answers as they grow."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from bots.intake import Intake
from bots.message import Attachment, Author, Change, ConversationKey, Message
from bots.relay import Relay


def _user_name() -> str:
    """Who sits here; a container may run under a number that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "user"


class Terminal:
    """Sends what is typed and follows the relay until the answer is done."""

    def __init__(self, intake: Intake, relay: Relay, *, session: str | None = None) -> None:
        self._intake, self._relay = intake, relay
        self.author = Author(_user_name())
        self.conversation = ConversationKey("terminal", "local", session or uuid.uuid4().hex)
        self._asked = ""

    async def ask(
        self, text: str, files: Sequence[Attachment] = ()
    ) -> AsyncGenerator[str | dict[str, Any], None]:
        """Yield `progress` and `file` events, what is new of the answer's text, then the `done` event."""
        message = Message(
            id=f"terminal:{uuid.uuid4().hex}",
            conversation=self.conversation,
            author=self.author,
            text=text,
            is_private=True,
            attachments=tuple(files),
        )
        self._asked = message.id
        position = await self._relay.position(self.conversation)
        await self._intake.receive(message)
        async with aclosing(self._relay.follow(self.conversation, position)) as events:
            async for piece in _pieces(events, message.id):
                yield piece

    async def stop(self) -> None:
        """Let the answer that is growing end with what was said so far."""
        await self._intake.change(Change("stop", self.conversation, self._asked, self.author.id))


async def _pieces(
    events: AsyncGenerator[tuple[str, dict[str, Any]] | None, None], turn: str
) -> AsyncGenerator[str | dict[str, Any], None]:
    shown = ""
    async for followed in events:
        if followed is None or followed[1]["turn"] != turn:
            continue
        event = followed[1]
        if event["kind"] in {"progress", "file"}:
            yield event
        if event["kind"] in {"text", "done"}:
            whole = event["text"]
            if whole.startswith(shown):
                yield whole[len(shown) :]
                shown = whole
            elif event["kind"] == "done":  # the answer was made again, and came out otherwise
                yield f"\n\n{whole}"
        if event["kind"] == "done":
            yield event
            return
