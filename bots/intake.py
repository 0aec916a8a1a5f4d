"""The one way in: sensitive values are taken out, then the message is made durable.

Nothing that a customer writes is stored, logged or sent to a model before it has passed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bots.feedback import Feedback
from bots.files import Files
from bots.inbox import Inbox
from bots.message import Change, Message, Rating, Receipt
from bots.redaction import Redaction


class Intake:
    """What adapters hand to: messages, changes of messages, ratings.

    When a method returns, what it took survives anything; when it raises, the platform must not be told that
    it arrived.
    """

    def __init__(self, inbox: Inbox, redaction: Redaction, files: Files, feedback: Feedback) -> None:
        self._inbox, self._redaction, self._files, self._feedback = inbox, redaction, files, feedback

    async def receive(self, message: Message, also: Sequence[str] = ()) -> Receipt:
        """Accept a message, see `Inbox.put`."""
        files = message.attachments
        given = [message.text, message.author.name, *message.arguments.values()]
        given += [part for file in files for part in (file.text, file.name)]
        text, name, *parts = await self._redaction(message.conversation, message.author.id, given)
        values, parts = parts[: len(message.arguments)], parts[len(message.arguments) :]
        message = replace(
            message,
            text=text,
            author=replace(message.author, name=name),
            arguments=dict(zip(message.arguments, values, strict=True)),
            attachments=tuple(
                replace(file, text=parts[row], name=parts[row + 1])
                for file, row in zip(files, range(0, len(parts), 2), strict=True)
            ),
        )
        # Files first: a message must not name what is not there.
        return await self._inbox.put(await self._files.put(message), also)

    async def change(self, change: Change, event_id: str = "") -> None:
        """Hand on that a question was edited or deleted, or that its answer shall stop.

        Of a question that is answered already nothing changes. With `event_id` it counts once.
        """
        if change.text:
            (text,) = await self._redaction(change.conversation, change.author_id, [change.text])
            change = replace(change, text=text)
        await self._inbox.put_change(change, event_id)

    async def rate(self, rating: Rating) -> None:
        """Keep whether an answer helped; somebody's later rating takes the place of the earlier one."""
        await self._feedback.rate(rating)
