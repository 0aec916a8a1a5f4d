"""The one way in: sensitive values are taken out, then the message is made durable.

Nothing that a customer writes is stored, logged or sent to a model before it has passed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bots.inbox import Inbox
from bots.message import Message
from bots.vault import Vault
from engine.filter import escape_placeholders, find


class Intake:
    """What adapters hand their messages to."""

    def __init__(self, inbox: Inbox, vault: Vault) -> None:
        self._inbox, self._vault = inbox, vault

    async def receive(self, message: Message, also: Sequence[str] = ()) -> bool:
        """Accept a message; False when it was accepted before (see `Inbox.put`).

        When this returns, the message survives anything; when it raises, the platform must not be told
        that it arrived.
        """
        files = message.attachments
        given = [message.text, message.author.name]
        given += [part for file in files for part in (file.text, file.name, file.problem)]
        text, name, *parts = await self._redact(message, [_encodable(part) for part in given])
        message = replace(
            message,
            text=text,
            author=replace(message.author, name=name),
            attachments=tuple(
                replace(file, text=parts[row], name=parts[row + 1], problem=parts[row + 2])
                for file, row in zip(files, range(0, len(parts), 3), strict=True)
            ),
        )
        return await self._inbox.put(message, also)

    async def _redact(self, message: Message, texts: list[str]) -> list[str]:
        """Placeholders instead of values, all asked for in one step so that numbers follow the text."""
        texts = [escape_placeholders(text) for text in texts]
        found = [find(text) for text in texts]
        values = [
            (finding, text[finding.start : finding.end])
            for text, findings in zip(texts, found, strict=True)
            for finding in findings
        ]
        given = iter(await self._vault.placeholders(message.conversation, message.author.id, values))
        redacted = []
        for text, findings in zip(texts, found, strict=True):
            pieces, position = [], 0
            for finding in findings:
                pieces += [text[position : finding.start], next(given)]
                position = finding.end
            redacted.append("".join([*pieces, text[position:]]))
        return redacted


def _encodable(text: str) -> str:
    """`text` without lone surrogates, which odd terminals and clients produce and nothing can store."""
    return text.encode("utf-8", "replace").decode()
