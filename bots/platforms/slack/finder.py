"""What an earlier attempt left in Slack, which takes no key that would keep a second post away.

A post is known by its metadata. A stream has none before it ends; but a post of the bot's own without any,
behind the question and in its thread, can only be the stream that its process did not live to end.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from bots.errors import PlatformRefused
from bots.message import Message
from bots.platforms.slack.calls import Calls
from bots.platforms.slack.place import direct_messages, is_shut, ref_of
from bots.platforms.slack.streams import METADATA, Post, Streams, thread_of
from engine.log import logger

# Slack gives at most so many messages a page when it is well; more pages than this are not read.
_A_PAGE, _MOST_PAGES = 200, 20
# A call has no time of Slack's own, only ours: so many seconds our clock may go ahead of Slack's.
_CLOCKS_DIFFER = 120.0

log = logger("bots.slack")


class Finder:
    """Looks before anything is posted a second time. Raises `PlatformBusy` and `PlatformRefused`."""

    def __init__(self, calls: Calls, streams: Streams) -> None:
        self._calls, self._streams = calls, streams

    async def post(self, message: Message, nonce: str) -> str | None:
        """The post of an earlier attempt under this nonce; a stream among them is ended."""
        orphan: str | None = None
        user = await self._calls.user(message)
        async for ref, found in self._since(message):
            if found.get("user") != user:
                continue
            metadata = found.get("metadata") or {}
            if metadata.get("event_type") == METADATA:
                if metadata["event_payload"].get("part") == nonce:
                    return self._adopt(message, ref, nonce)
            elif not metadata and not found.get("files") and _may_be_stream(message, ref):
                orphan = ref
        if orphan:
            self._adopt(message, orphan, nonce)
            await self._streams.end(message, orphan)
        return orphan

    def _adopt(self, message: Message, ref: str, nonce: str) -> str:
        self._streams.remember(message, ref, Post(nonce))
        return ref

    async def file(self, message: Message, name: str) -> str | None:
        """The file that an earlier attempt sent under this name."""
        user = await self._calls.user(message)
        async for _, found in self._since(message):
            for file in found.get("files") or ():
                if found.get("user") == user and file.get("name") == name:
                    return str(file["id"])
        return None

    async def _since(self, message: Message) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """Everything since the question, under its id: in the channel, or with its author alone."""
        channel = message.conversation.channel
        try:
            async for found in self._read(message, channel):
                yield ref_of(message, channel, found["ts"]), found
        except PlatformRefused as error:
            if not is_shut(message, error):
                raise
            # Where the bot may post but not read, a post is not found again: better twice than not at all.
            with contextlib.suppress(PlatformRefused):
                aside = await direct_messages(self._calls, message)
                async for found in self._read(message, aside):
                    yield ref_of(message, aside, found["ts"]), found

    async def _read(self, message: Message, channel: str) -> AsyncIterator[Mapping[str, Any]]:
        """What stands in the question's thread or, where it has none, in the channel."""
        oldest, thread = _earliest(message), thread_of(message)
        where = {"ts": thread} if thread else {}
        read, cursor = "conversations_replies" if thread else "conversations_history", None
        for _ in range(_MOST_PAGES):
            page = await self._calls.call(
                message,
                read,
                channel=channel,
                oldest=oldest,
                limit=_A_PAGE,
                cursor=cursor,
                include_all_metadata=True,
                **where,
            )
            for found in page["messages"]:
                if float(found["ts"]) > float(oldest):  # a thread always comes with its first message
                    yield found
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return
        log.warning("a conversation in Slack is too long to be read to its end", pages=_MOST_PAGES)


def _asked_at(message: Message) -> float:
    """The time of the question: Slack's of what stands in a thread, of all else that of our own clock."""
    own = message.id.rpartition(":")[2]
    return float(own) if re.fullmatch(r"\d+\.\d+", own) else message.sent_at


def _earliest(message: Message) -> str:
    """From when on Slack may have an answer; a nonce is known also among what was there before."""
    return f"{max(0.0, _asked_at(message) - _CLOCKS_DIFFER):.6f}"


def _may_be_stream(message: Message, ref: str) -> bool:
    """Streams are known by their place alone: behind the question, in its thread."""
    return thread_of(message) is not None and float(ref) > _asked_at(message)
