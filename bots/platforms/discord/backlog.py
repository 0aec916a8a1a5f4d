"""What people wrote while the bot was not connected, read back from the newest message that was handled.

Discord replays what a RESUME missed, but nothing of what came between two sessions. Only channels in which
the bot was addressed before are read: the newest hundred messages of the fifty latest, of one day at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import discord

from bots.adapter import insist
from bots.marks import Marks
from bots.message import ConversationKey
from engine.log import logger

log = logger("bots.discord")

_MOST_MESSAGES, _MOST_CHANNELS = 100, 50
# Not longer than events stay claimed, or a question could be answered again.
_OLDEST = timedelta(hours=23)

Handle = Callable[[discord.Message], Awaitable[None]]


class Backlog:
    """Keeps the order of each channel: what was missed comes before what is written now."""

    def __init__(self, client: discord.Client, marks: Marks, handle: Handle) -> None:
        self._client, self._marks, self._handle = client, marks, handle
        self._locks: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()
        self._behind: asyncio.Task[dict[int, tuple[ConversationKey, str]]] | None = None
        self._is_ready = asyncio.Event()

    def begin(self) -> None:
        """A new session begins: from now on messages wait until the marks of before were read."""
        self._is_ready.clear()
        self._behind = asyncio.create_task(self._load())

    async def read(self) -> None:
        """Discord has told what channels there are: read them all back."""
        self._is_ready.set()
        if self._behind is not None:
            for channel_id in list(await asyncio.shield(self._behind)):
                async with self.turn(channel_id):
                    pass  # reading back is part of taking turns

    @contextlib.asynccontextmanager
    async def turn(self, channel_id: int) -> AsyncIterator[None]:
        """One after another in a channel, in the order in which they ask, and after what was missed there."""
        lock = self._locks.setdefault(channel_id, asyncio.Lock())
        async with lock:
            if self._behind is not None:
                behind = await asyncio.shield(self._behind)
                if channel_id in behind:
                    await self._is_ready.wait()
                    await self._read_back(channel_id, *behind.pop(channel_id))
            yield

    async def _load(self) -> dict[int, tuple[ConversationKey, str]]:
        marks: dict[ConversationKey, str] = {}

        async def load() -> None:
            marks.update(await self._marks.all())

        await insist(load)
        newest = list(marks.items())[:_MOST_CHANNELS]
        return {int(conversation.channel): (conversation, mark) for conversation, mark in newest}

    async def _read_back(self, channel_id: int, conversation: ConversationKey, mark: str) -> None:
        try:
            messages = await self._since(channel_id, int(mark))
        except discord.NotFound:
            await insist(lambda: self._marks.drop(conversation))
        except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
            log.warning(
                "a channel could not be read back; what was asked there meanwhile stays unanswered",
                channel=channel_id,
                reason=str(error),
            )
        else:
            for message in messages:
                await self._handle(message)

    async def _since(self, channel_id: int, mark: int) -> list[discord.Message]:
        oldest = discord.utils.time_snowflake(discord.utils.utcnow() - _OLDEST)
        after = discord.Object(max(mark, oldest))
        channel: Any = self._client.get_channel(channel_id) or await self._client.fetch_channel(channel_id)
        newest = channel.history(limit=_MOST_MESSAGES, after=after, oldest_first=False)
        return [message async for message in newest][::-1]
