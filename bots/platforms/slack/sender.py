"""The sending half of Slack: answers that grow as streams, and what belongs to them.

It knows how posts are made and changed. Tokens, pace and faults are `Calls`', streams `Streams`'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from bots.errors import PlatformRefused
from bots.message import Attachment, Message, Part, Provisional, Reply
from bots.platforms.slack.blocks import blocks
from bots.platforms.slack.calls import Calls, TokenOf
from bots.platforms.slack.files import Files
from bots.platforms.slack.finder import Finder
from bots.platforms.slack.names import Names
from bots.platforms.slack.pace import Pace
from bots.platforms.slack.place import in_reach, place_of, ref_of
from bots.platforms.slack.status import Status
from bots.platforms.slack.streams import Post, Streams, mark, thread_of
from bots.platforms.slack.text import cut, escape
from bots.platforms.slack.turnstile import Turnstile
from engine.types import TextFile

# `chat.update` refuses a `text` of more than 4,000 characters; beside blocks it is for notifications alone.
_LONGEST_NOTIFICATION = 3_900


class SlackSender:
    """The sending half."""

    # Escaping makes a text longer: there is room up to `text.MOST_CHARACTERS`.
    limit = 11_000
    edit_seconds = 1.2
    shows_citations = True

    def __init__(self, token_of: TokenOf, api_url: str, redis: Redis | None = None) -> None:
        """With `redis` Slack's limits are kept together with all other processes."""
        self._calls = Calls(token_of, api_url, Pace(Turnstile(redis) if redis else None))
        self._streams = Streams(self._calls)
        self._finder = Finder(self._calls, self._streams)
        self._files = Files(self._calls, self._finder, api_url)
        self._status, self._names = Status(self._calls), Names(self._calls)

    async def open(self) -> None:
        """Check the token, if there is one for all workspaces. Raises `WrongToken`, and `PlatformBusy` when
        Slack cannot be reached: then it may be called again, and the first post does so.
        """
        await self._calls.open()

    async def typing(self, message: Message) -> None:
        await self._status.begin(message)

    async def post(self, message: Message, text: str, *, nonce: str, is_retry: bool, is_growing: bool) -> str:
        """Slack takes no idempotency key: before a second send the conversation is searched for the first."""
        if is_retry:
            await self._calls.expect_turn(message)
            if found := await self._finder.post(message, nonce):
                return found
        shown = escape(text)
        if is_growing and (ref := await self._streams.start(message, shown, nonce)):
            return ref

        async def create(channel: str) -> str:
            sent = await self._calls.call(
                message,
                "chat_postMessage",
                channel=channel,
                thread_ts=thread_of(message),
                markdown_text=shown,
                metadata=mark(nonce),
                unfurl_links=False,
                unfurl_media=False,
                link_names=False,
            )
            return ref_of(message, channel, str(sent["ts"]))

        ref = await in_reach(self._calls, message, create)
        self._streams.remember(message, ref, Post(nonce, shown))
        return ref

    async def edit(self, message: Message, ref: str, text: str, *, is_growing: bool) -> None:
        shown = escape(text)
        extend = self._streams.grow if is_growing else self._streams.stop
        if await extend(message, ref, shown):
            return
        # Where there is no room for what will grow further, the next text brings it along.
        if not is_growing or self._calls.can_spare(message, "chat_update"):
            await self._update(message, ref, markdown_text=shown)

    async def _update(self, message: Message, ref: str, **content: Any) -> None:
        metadata = self._streams.metadata(message, ref)
        await self._change("chat_update", message, ref, metadata=metadata, link_names=False, **content)

    async def _change(self, method: str, message: Message, ref: str, **content: Any) -> None:
        """Call `method` on a post, which may still be another process' stream."""
        channel, ts = place_of(message, ref)
        content |= {"channel": channel, "ts": ts}
        try:
            await self._calls.call(message, method, **content)
        except PlatformRefused as error:
            if error.reason != "streaming_state_conflict":
                raise
            await self._streams.end(message, ref)
            await self._calls.call(message, method, **content)

    async def finish(
        self, message: Message, parts: Sequence[Part], reply: Reply, options: Sequence[str]
    ) -> None:
        for part in parts:
            own_options = options if options and f"1. {options[0]}" in part.text.splitlines() else ()
            shown = blocks(escape(part.text), reply if part is parts[-1] else None, own_options, message.id)
            if len(shown) > 1:
                text = escape(cut(part.text, _LONGEST_NOTIFICATION), _LONGEST_NOTIFICATION)
                await self._update(message, part.ref, text=text, blocks=shown)
        await self._status.end(message, was_stopped=reply.decision == "stopped")

    async def post_file(self, message: Message, file: TextFile, *, nonce: str, is_retry: bool) -> str:
        return await self._files.post(message, file, nonce=nonce, is_retry=is_retry)

    async def fetch(self, message: Message, file: Attachment) -> bytes:
        return await self._files.fetch(message, file)

    async def delete(self, message: Message, ref: str) -> None:
        try:
            if ref.startswith("F"):  # a file's id; a post's begins with a time, or D for direct messages
                await self._calls.call(message, "files_delete", file=ref)
            else:
                await self._change("chat_delete", message, ref)
        except PlatformRefused as error:
            if error.reason not in ("message_not_found", "file_not_found", "file_deleted"):
                raise
        await self._status.end(message)

    async def name_of(self, message: Message) -> str:
        return await self._names.of(message)

    async def progress(self, message: Message, provisional: Provisional) -> bool:
        return False

    def link_to(self, message: Message) -> str:
        """Nobody but its person can open a direct message."""
        return "" if message.is_private else self._calls.link(message)

    async def close(self) -> None:
        await self._calls.close()
