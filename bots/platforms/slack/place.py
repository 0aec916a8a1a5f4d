"""Where posts stand: in the message's channel, or with its author alone where the bot may not post.

A slash command works everywhere, also in private channels and talks of others that the bot is no member of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bots.errors import PlatformRefused
from bots.message import Message
from bots.platforms.slack.calls import Calls
from bots.platforms.slack.streams import thread_of

_SHUT = frozenset({"channel_not_found", "not_in_channel"})

Made = TypeVar("Made")


async def in_reach(calls: Calls, message: Message, act: Callable[[str], Awaitable[Made]]) -> Made:
    """Do something in the message's channel, or with its author alone. Raises what `act` and Slack raise."""
    try:
        return await act(message.conversation.channel)
    except PlatformRefused as error:
        if not is_shut(message, error):
            raise
    return await act(await direct_messages(calls, message))


def is_shut(message: Message, error: PlatformRefused) -> bool:
    """Whether the bot has no access there, and its answer may go to the author: in a thread it has."""
    return error.reason in _SHUT and thread_of(message) is None and bool(message.author.id)


async def direct_messages(calls: Calls, message: Message) -> str:
    """The channel of the bot and the author. Raises `PlatformBusy` and `PlatformRefused`."""
    opened = await calls.call(message, "conversations_open", users=message.author.id)
    return str(opened["channel"]["id"])


def ref_of(message: Message, channel: str, ts: str) -> str:
    """A post's id: its time, and its channel where that is another than the message's."""
    return ts if channel == message.conversation.channel else f"{channel}:{ts}"


def place_of(message: Message, ref: str) -> tuple[str, str]:
    """Channel and time of a post."""
    channel, _, ts = ref.rpartition(":")
    return channel or message.conversation.channel, ts
