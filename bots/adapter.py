"""What a platform must offer.

A platform has two halves. The receiving half turns events into `Message`s, `Change`s and `Rating`s and hands
them to `bots.intake.Intake`; it may run in a process of its own. The sending half belongs to the worker.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Protocol

import stamina
from redis.exceptions import RedisError

from bots.message import Attachment, Message, Part, Provisional, Reply
from engine.errors import UnreadableDocument
from engine.language.phrases import say
from engine.library.readers import text_of
from engine.types import TextFile

MAX_ATTACHMENT_BYTES = 10 * 1024 * 1024
"""All files of one message together."""


class Receiver(Protocol):
    """The receiving half."""

    async def run_forever(self) -> None:
        """Connect and receive until cancelled. Raises `WrongToken` for a token that does not work, and
        `PlatformBusy` when the platform cannot be reached."""
        ...


class Sender(Protocol):
    """The sending half. Raises `PlatformBusy` and `PlatformRefused`; anything else is a fault."""

    limit: int
    """Characters in one post."""
    edit_seconds: float
    """The shortest time between two edits of a post."""
    shows_citations: bool
    """Whether `finish` shows them; otherwise they are written below the text."""

    async def typing(self, message: Message) -> None:
        """Show that an answer is coming; may do nothing."""
        ...

    async def post(self, message: Message, text: str, *, nonce: str, is_retry: bool, is_growing: bool) -> str:
        """Post in answer to `message`; return the post's id.

        Posting again under the same nonce must not show a second post: where the platform does not see to
        that, a retry looks for the first one.

        Parameters
          is_growing: more of this post's text will come by `edit`; the last `edit` says that it is whole
        """
        ...

    async def edit(self, message: Message, ref: str, text: str, *, is_growing: bool) -> None:
        """Replace the text of the post `ref`, which may be another process'. Can be repeated."""
        ...

    async def post_file(self, message: Message, file: TextFile, *, nonce: str, is_retry: bool) -> str:
        """Post a text file behind the reply; otherwise like `post`."""
        ...

    async def delete(self, message: Message, ref: str) -> None:
        """Take the post `ref` away: its question was deleted. Nothing when it is gone already."""
        ...

    async def fetch(self, message: Message, file: Attachment) -> bytes:
        """The content of a file that the platform has, or enough of it to see that it is too large.

        Raises `FileRefused`.
        """
        ...

    async def name_of(self, message: Message) -> str:
        """What the author is called, where the message does not say; empty when nobody knows."""
        ...

    async def progress(self, message: Message, provisional: Provisional) -> bool:
        """Show how far the reading is; False where it is to be posted as a text."""
        ...

    async def finish(
        self, message: Message, parts: Sequence[Part], reply: Reply, options: Sequence[str]
    ) -> None:
        """The whole text is out, in `parts`: show what belongs to it. Without parts the question was taken
        back, and nobody waits any more. Can be repeated.

        Parameters
          options: what buttons may ask, as customers see it; the text names them by number, so a platform
            without buttons shows none
        """
        ...

    def link_to(self, message: Message) -> str:
        """An address under which staff finds the conversation; empty where there is none."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


_confirmation: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("confirmation", default=None)


def confirm_by(check: Callable[[], Awaitable[None]]) -> None:
    """Have `confirm` ask this from now on, in this task."""
    _confirmation.set(check)


async def confirm() -> None:
    """Raise `LeaseLost` when another worker may send what is being sent here.

    A sender that waits for its turn, or for an answer, before it sends, asks this right before it does.
    """
    if (check := _confirmation.get()) is not None:
        await check()


async def insist(store: Callable[[], Awaitable[object]]) -> None:
    """Store something again and again while Redis is away, until cancelled: Discord delivers it only once,
    and what comes after it would move the mark past it."""
    async for attempt in stamina.retry_context(on=RedisError, attempts=None, timeout=None, wait_max=5):
        with attempt:
            await store()


def nonce_of(message_id: str, part: int) -> str:
    """A name for one part of one reply, the same on every attempt: 22 characters (Discord takes 25)."""
    digest = hashlib.sha256(f"{message_id}\0{part}".encode()).digest()
    return base64.urlsafe_b64encode(digest)[:22].decode()


def text_attachment(name: str, content: bytes) -> Attachment:
    """A text, markdown, HTML or PDF file as text, or why it is none. Blocks: a large PDF takes seconds."""
    if len(content) > MAX_ATTACHMENT_BYTES:
        return Attachment(name, problem="too_large")
    try:
        return Attachment(name, text_of(name, content))
    except UnreadableDocument as error:
        return Attachment(name, problem=_problem_key(str(error)))


def _problem_key(reason: str) -> str:
    if "binary" in reason:
        return "not_text"
    return "no_text_inside" if "empty" in reason or "no text" in reason else "unreadable"


def problem_of(attachment: Attachment, language: str) -> str:
    """Why a file has no text, as its sender is told."""
    megabytes = MAX_ATTACHMENT_BYTES // 1024**2
    return say(attachment.problem, language, name=attachment.name, megabytes=megabytes)
