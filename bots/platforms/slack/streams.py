"""Answers that grow in Slack: a stream of a thread, to which only what is new is sent.

Slack lets a stream die after about five minutes, even while text flows, and keeps nothing of what it refused
then; so what each post shows is kept here, and a post that is no stream any more is updated as a whole.
Streams take neither metadata before their end nor a word about previews of links.
https://docs.slack.dev/reference/methods/chat.startStream
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from bots.errors import PlatformBusy, PlatformRefused
from bots.message import Message
from bots.platforms.slack.calls import Calls
from engine.log import logger

METADATA = "frontdesk_turn"
# So many posts are known; an older one is updated as a whole.
_MOST_POSTS = 1_000
# For how long a channel that took no stream is not asked again.
_NO_STREAM_SECONDS = 3_600.0
_MOST_REFUSALS = 1_000

log = logger("bots.slack")


@dataclass(slots=True)
class Post:
    """One of this process' posts: what Slack shows of it, escaped, and whether more can be appended."""

    nonce: str
    shown: str = ""
    is_stream: bool = False
    is_certain: bool = True
    """False after a call whose answer was lost: it may have worked."""


class Streams:
    """The posts that this process knows, most of them streams while they grow."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._posts: OrderedDict[tuple[str, str, str], Post] = OrderedDict()
        self._refusals: OrderedDict[tuple[str, str], float] = OrderedDict()

    def remember(self, message: Message, ref: str, post: Post) -> None:
        self._posts[_key(message, ref)] = post
        if len(self._posts) > _MOST_POSTS:
            self._posts.popitem(last=False)

    def metadata(self, message: Message, ref: str) -> dict[str, Any]:
        """What marks the post as a part of its turn; another process' post only as taken."""
        post = self._posts.get(_key(message, ref))
        return mark(post.nonce if post else ref)

    async def start(self, message: Message, text: str, nonce: str) -> str | None:
        """Begin a stream and return its id; None where there can be none. Raises `PlatformBusy`."""
        if not self._may_start(message):
            return None
        channel = message.conversation.channel
        try:
            started = await self._calls.call(
                message,
                "chat_startStream",
                channel=channel,
                thread_ts=thread_of(message),
                markdown_text=text,
                **_recipient(message),
            )
        except PlatformRefused as error:
            self._note_refusal(message)
            log.info("Slack takes no streams in a channel: answers grow by edits", reason=error.reason)
            return None
        self.remember(message, str(started["ts"]), Post(nonce, text, is_stream=True))
        return str(started["ts"])

    def _note_refusal(self, message: Message) -> None:
        self._refusals[message.conversation.workspace, message.conversation.channel] = time.monotonic()
        if len(self._refusals) > _MOST_REFUSALS:
            self._refusals.popitem(last=False)

    def _may_start(self, message: Message) -> bool:
        """A stream needs a thread and, in a channel, somebody to follow it."""
        place = message.conversation.workspace, message.conversation.channel
        refused = self._refusals.get(place, float("-inf"))
        return (
            bool(thread_of(message) and (message.is_private or message.author.id))
            and time.monotonic() - refused > _NO_STREAM_SECONDS
            and self._calls.can_spare(message, "chat_startStream")
        )

    async def grow(self, message: Message, ref: str, text: str) -> bool:
        """Append what is new; False where the post must be updated as a whole. Raises `PlatformBusy`."""
        post = self._posts.get(_key(message, ref))
        if post is None or not post.is_stream:
            return False
        if not (post.is_certain and text.startswith(post.shown)):
            await self.end(message, ref)
            return False
        # What there is no room for now comes with the next text.
        if text != post.shown and self._calls.can_spare(message, "chat_appendStream"):
            return await self._send(message, ref, post, text, "chat_appendStream")
        return True

    async def stop(self, message: Message, ref: str, text: str) -> bool:
        """Append the rest and end the stream; otherwise like `grow`."""
        post = self._posts.get(_key(message, ref))
        if post is None or not post.is_stream:
            return False
        if not (post.is_certain and text.startswith(post.shown)):
            await self.end(message, ref)
            return False
        is_shown = await self._send(
            message, ref, post, text, "chat_stopStream", metadata=self.metadata(message, ref)
        )
        post.is_stream = False
        return is_shown

    async def _send(
        self, message: Message, ref: str, post: Post, text: str, method: str, **more: Any
    ) -> bool:
        """False when the stream is dead."""
        rest = text[len(post.shown) :] or None
        channel = message.conversation.channel
        post.is_certain = False  # until there is an answer; a cancelled call has none
        try:
            await self._calls.call(message, method, channel=channel, ts=ref, markdown_text=rest, **more)
        except PlatformBusy:
            post.is_certain = self._calls.is_held(message, method)  # a refusal for being too fast did nothing
            raise
        except PlatformRefused as error:
            log.info("a stream of Slack is over: the post is updated as a whole", reason=error.reason)
            post.is_stream = False
            return False
        post.shown, post.is_certain = text, True
        return True

    async def end(self, message: Message, ref: str) -> None:
        """Let the post be no stream any more, whoever began it; it can be updated then."""
        metadata = self.metadata(message, ref)
        try:
            channel = message.conversation.channel
            await self._calls.call(message, "chat_stopStream", channel=channel, ts=ref, metadata=metadata)
        except PlatformRefused as error:
            log.debug("a stream was over already", reason=error.reason)
        if post := self._posts.get(_key(message, ref)):
            post.is_stream = False


def thread_of(message: Message) -> str | None:
    """The thread that the answer belongs to; a receiver names it where the conversation has none."""
    return message.conversation.thread or message.address.get("thread") or None


def mark(nonce: str) -> dict[str, Any]:
    """Message metadata, by which a post is found again."""
    return {"event_type": METADATA, "event_payload": {"part": nonce}}


def _key(message: Message, ref: str) -> tuple[str, str, str]:
    return message.conversation.workspace, message.conversation.channel, ref


def _recipient(message: Message) -> dict[str, str]:
    if message.is_private:
        return {}
    return {
        "recipient_team_id": message.conversation.workspace,
        "recipient_user_id": message.author.id,
    }
