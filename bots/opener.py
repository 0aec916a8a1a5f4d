"""Files made ready for an answer: fetched from their platform, made text, redacted, stored, opened."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from bots.adapter import MAX_ATTACHMENT_BYTES, Sender, text_attachment
from bots.errors import FileRefused
from bots.files import Files
from bots.message import Attachment, Message
from bots.redaction import Redaction
from engine.log import logger

log = logger("bots.opener")


class Opener:
    """What a worker opens messages with. A platform is acknowledged long before: files take their time."""

    def __init__(self, files: Files, redaction: Redaction) -> None:
        self._files, self._redaction = files, redaction

    async def open(self, message: Message, sender: Sender, *, has_earlier: bool = True) -> Message:
        """The message with the texts of its files, or of the conversation's earlier ones if it has none.

        Parameters
          has_earlier: whether there may be earlier ones
        """
        if message.job or message.notice or not (message.attachments or has_earlier):
            return message
        if not message.attachments:
            return replace(message, earlier_files=await self._files.earlier(message.conversation))
        room, opened = MAX_ATTACHMENT_BYTES, []
        for row, file in enumerate(message.attachments):
            found = await self._open(message, row, file, room, sender)
            room -= len(found.text)
            opened.append(found)
        return replace(message, attachments=tuple(opened))

    async def named(self, message: Message, sender: Sender) -> Message:
        """The message with its author's name, where several may write; redacted, for it may be an address."""
        if message.is_private or message.author.name or message.job or message.notice:
            return message
        names = [await sender.name_of(message)]
        (name,) = await self._redaction(message.conversation, message.author.id, names)
        return replace(message, author=replace(message.author, name=name))

    async def _open(
        self, message: Message, row: int, file: Attachment, room: int, sender: Sender
    ) -> Attachment:
        if file.problem or file.text:
            return file
        if (text := await self._files.text(message, row)) is not None:
            return replace(file, text=text, is_stored=False)
        if not file.url:
            return replace(file, problem="file_gone" if file.is_stored else "no_text_inside")
        if file.size > room:
            return replace(file, problem="too_large")
        try:
            content = await sender.fetch(message, file)
        except FileRefused as error:
            log.warning("a file could not be fetched; its author is told", reason=str(error))
            return replace(file, problem=error.key)
        found = await asyncio.to_thread(text_attachment, file.name, content)
        if len(found.text) > room:  # a PDF's text may be far longer than its file
            return replace(file, problem="too_large")
        texts = await self._redaction(message.conversation, message.author.id, [found.text])
        found = replace(found, text=texts[0])
        await self._files.put_one(message, row, found)
        return found
