"""The one way in: sensitive values are taken out, then the message is made durable.

Nothing that a customer writes is stored, logged or sent to a model before it has passed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bots.files import Files
from bots.inbox import Inbox
from bots.message import Message
from bots.redaction import Redaction


class Intake:
    """What adapters hand their messages to."""

    def __init__(self, inbox: Inbox, redaction: Redaction, files: Files) -> None:
        self._inbox, self._redaction, self._files = inbox, redaction, files

    async def receive(self, message: Message, also: Sequence[str] = ()) -> bool:
        """Accept a message; False when it was accepted before (see `Inbox.put`).

        When this returns, the message survives anything; when it raises, the platform must not be told
        that it arrived.
        """
        files = message.attachments
        given = [message.text, message.author.name]
        given += [part for file in files for part in (file.text, file.name)]
        text, name, *parts = await self._redaction(message.conversation, message.author.id, given)
        message = replace(
            message,
            text=text,
            author=replace(message.author, name=name),
            attachments=tuple(
                replace(file, text=parts[row], name=parts[row + 1])
                for file, row in zip(files, range(0, len(parts), 2), strict=True)
            ),
        )
        # Files first: a message must not name what is not there.
        return await self._inbox.put(await self._files.put(message), also)
