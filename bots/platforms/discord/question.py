"""A Discord message as ours: what it says, where it stands, and whether the bot is meant."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import discord

from bots.message import Attachment, Author, ConversationKey, Message

Knows = Callable[[ConversationKey], Awaitable[bool]]
"""Whether the bot has answered in a conversation."""

_WRITTEN = (discord.MessageType.default, discord.MessageType.reply)


@dataclass(frozen=True, slots=True)
class Audience:
    """For whom the bot answers without being named."""

    auto_channels: frozenset[str]
    """Ids of channels, and of forums and channels whose threads are meant too."""
    follows_threads: bool
    """Whether a thread goes on without a mention once the bot has answered in it."""
    knows: Knows

    async def is_direct(self, message: discord.Message, me: discord.ClientUser) -> bool | None:
        """Whether the bot itself is meant; None where the message is none of its business."""
        if is_private(message.channel) or _names(message, me):
            return True
        channel, parent = message.channel.id, getattr(message.channel, "parent_id", None)
        if not self.auto_channels.isdisjoint({str(channel), str(parent)}):
            return False
        is_thread = isinstance(message.channel, discord.Thread)
        if self.follows_threads and is_thread and await self.knows(conversation_of(message)):
            return False
        return None


def is_persons(message: discord.Message) -> bool:
    """Whether a person wrote it: bots that answer bots never end."""
    author = message.author
    return not (author.bot or author.system or message.webhook_id) and message.type in _WRITTEN


def question_of(message: discord.Message, me: discord.ClientUser, *, is_direct: bool) -> Message:
    """The message as ours."""
    return Message(
        id=f"discord:{message.id}",
        conversation=conversation_of(message),
        author=author_of(message.author),
        text=text_of(message.content, me),
        is_private=is_private(message.channel),
        attachments=tuple(map(_attachment, message.attachments)),
        address={"message": str(message.id)},
        is_direct=is_direct,
    )


def text_of(content: str, me: discord.ClientUser) -> str:
    """What a message says, without the mentions that only call the bot."""
    return re.sub(rf" *<@!?{me.id}> *", " ", content).strip()


def author_of(user: discord.User | discord.Member) -> Author:
    """Named as in the channel."""
    return Author(str(user.id), user.display_name)


def conversation_of(message: discord.Message) -> ConversationKey:
    """A thread is a channel of its own at Discord."""
    guild = message.guild.id if message.guild else getattr(message.channel, "guild_id", None)
    return conversation(guild, message.channel.id)


def conversation(guild_id: int | None, channel_id: int | None) -> ConversationKey:
    """The key by Discord's ids."""
    return ConversationKey("discord", str(guild_id or "direct"), str(channel_id))


def is_private(channel: object) -> bool:
    """Whether nobody else reads along. A guild that is not known yet does not make a channel private."""
    return isinstance(channel, discord.DMChannel)


def attachments_of(files: list[dict[str, Any]]) -> tuple[Attachment, ...]:
    """Files as Discord's JSON has them."""
    return tuple(Attachment(file["filename"], url=file["url"], size=file["size"]) for file in files)


def _names(message: discord.Message, me: discord.ClientUser) -> bool:
    answered = message.reference.resolved if message.reference else None
    is_reply = isinstance(answered, discord.Message) and answered.author == me
    # A reply without a ping comes without its content, unless the intent is on: nothing to answer then.
    return me in message.mentions or (is_reply and bool(message.content or message.attachments))


def _attachment(found: discord.Attachment) -> Attachment:
    """A file as Discord names it; a worker fetches it, so that messages stay in their order."""
    return Attachment(found.filename, url=found.url, size=found.size)
