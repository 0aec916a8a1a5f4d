"""One connection to Discord's gateway: events become messages and changes.

No privileged intent is asked for by default: Discord gives the content of messages that mention the bot,
answer it with a ping or reach it directly.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec

import discord
from redis.asyncio import Redis

from bots.adapter import insist
from bots.intake import Intake
from bots.marks import Marks
from bots.message import Change, ConversationKey, Message, Receipt
from bots.platforms.discord.backlog import Backlog
from bots.platforms.discord.interactions import Interaction, Interactions
from bots.platforms.discord.question import (
    Audience,
    conversation,
    conversation_of,
    is_persons,
    question_of,
    text_of,
)
from bots.platforms.discord.rest import LONGEST_WAIT_SECONDS, NO_MENTIONS
from bots.platforms.discord.slash import Slash
from bots.pulse import Pulse
from engine.log import logger

log = logger("bots.discord")

Arguments = ParamSpec("Arguments")

# How often `silence` looks, in parts of the time after which a connection counts as dead.
_LOOKS = 9


def _to_the_end(
    event: Callable[Concatenate[Gateway, Arguments], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[Gateway, Arguments], Coroutine[Any, Any, None]]:
    """What was begun is finished before the connection is given up, and nothing new is begun then."""

    @functools.wraps(event)
    async def handle(self: Gateway, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        if self.is_leaving or (task := asyncio.current_task()) is None:
            return
        self.under_way.add(task)
        try:
            await event(self, *args, **kwargs)
        finally:
            self.under_way.discard(task)

    return handle


class Gateway(discord.AutoShardedClient):
    """Used once: after it was closed another one is needed."""

    def __init__(
        self,
        intake: Intake,
        redis: Redis,
        pulse: Pulse,
        *,
        slash: Slash,
        audience: Audience,
        guild_ready_seconds: float = 2.0,
    ) -> None:
        """
        Parameters
          guild_ready_seconds: how long without a new server until all are taken to be known
        """
        intents = discord.Intents.default()
        intents.message_content = audience.follows_threads
        super().__init__(
            intents=intents,
            allowed_mentions=NO_MENTIONS,
            max_messages=None,
            max_ratelimit_timeout=LONGEST_WAIT_SECONDS,
            guild_ready_timeout=guild_ready_seconds,
        )
        self._intake, self._redis, self._pulse = intake, redis, pulse
        self._slash, self._audience = slash, audience
        self._marks = Marks(redis, "discord")
        self._interactions = Interactions(slash, intake, self._take_turn)
        self._backlog = Backlog(self, self._marks, self._hear)
        self._count = 0
        self.was_connected, self.is_leaving = False, False
        self.under_way: set[asyncio.Task[Any]] = set()

    async def settle(self, seconds: float) -> None:
        """Take nothing more, and wait until what was taken is stored, even when cancelled meanwhile.

        A message that is left now is read back at the next start; a command that was acknowledged is not.
        """
        self.is_leaving, until = True, time.monotonic() + seconds
        cancelled = None
        while self.under_way and (left := until - time.monotonic()) > 0:
            try:
                await asyncio.wait(self.under_way, timeout=left)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def silence(self, seconds: float) -> None:
        """Return once nothing came for so long: no event, and no answer to a heartbeat."""
        sign, since = self._sign(), time.monotonic()
        while time.monotonic() - since < seconds:
            await asyncio.sleep(seconds / _LOOKS)
            if (now := self._sign()) != sign:
                sign, since = now, time.monotonic()

    def _sign(self) -> object:
        # Two answers to heartbeats never take the very same time.
        return self._count, self.latencies

    async def setup_hook(self) -> None:
        """Logged in, not yet connected."""
        await self._slash.register(self, self._redis)

    async def on_socket_event_type(self, event_type: str) -> None:
        """Every event, of whatever kind."""
        self._count += 1
        self._pulse.event()

    async def on_connect(self) -> None:
        """A new session; what came before it is not replayed."""
        self._backlog.begin()
        self.was_connected = True
        self._pulse.connected()

    async def on_resumed(self) -> None:
        """The old session goes on, and what was missed is replayed."""
        self._pulse.connected()

    async def on_disconnect(self) -> None:
        """discord.py tries again by itself."""
        self._pulse.lost("Discord closed the connection")

    async def on_shard_ready(self, shard_id: int) -> None:
        """Servers and channels are known."""
        log.info("Discord is connected", shard=shard_id, guilds=len(self.guilds))
        await self._backlog.read()

    @_to_the_end
    async def on_message(self, message: discord.Message) -> None:
        """Hand on what is addressed to the bot."""
        if is_persons(message):
            async with self._backlog.turn(message.channel.id):
                await self._hear(message)

    @_to_the_end
    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """A question says something else now. Discord also says so when it adds a preview of a link."""
        message = payload.message
        if is_persons(message) and message.edited_at is not None:
            async with self._backlog.turn(message.channel.id):
                await insist(lambda: self._edited(message))

    @_to_the_end
    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """A message is gone; Discord does not say whose."""
        await self._deleted(conversation(payload.guild_id, payload.channel_id), {payload.message_id})

    @_to_the_end
    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """A moderator took many away at once."""
        await self._deleted(conversation(payload.guild_id, payload.channel_id), payload.message_ids)

    @_to_the_end
    async def on_interaction(self, interaction: Interaction) -> None:
        """A command, a button, a modal."""
        await self._interactions.handle(interaction)

    async def _hear(self, message: discord.Message) -> None:
        assert self.user is not None
        me = self.user

        async def hear() -> None:
            is_direct = await self._audience.is_direct(message, me)
            if is_direct is not None:
                await self._take(question_of(message, me, is_direct=is_direct))

        if is_persons(message):
            await insist(hear)

    async def _take_turn(self, message: Message) -> Receipt:
        receipt = Receipt.KNOWN

        async def take() -> None:
            nonlocal receipt
            receipt = await self._take(message)

        async with self._backlog.turn(int(message.conversation.channel)):
            await insist(take)
        return receipt

    async def _take(self, message: Message) -> Receipt:
        receipt = await self._intake.receive(message)
        await self._marks.advance(message.conversation, message.id.rpartition(":")[2])
        return receipt

    async def _edited(self, message: discord.Message) -> None:
        assert self.user is not None
        if await self._audience.is_direct(message, self.user) is None:
            return
        change = Change(
            "edit",
            conversation_of(message),
            f"discord:{message.id}",
            str(message.author.id),
            text_of(message.content, self.user),
        )
        await self._intake.change(change, f"discord:{message.id}:{message.edited_at}")

    async def _deleted(self, place: ConversationKey, message_ids: set[int]) -> None:
        async def delete() -> None:
            if await self._marks.has(place):
                for message_id in sorted(message_ids):
                    change = Change("delete", place, f"discord:{message_id}")
                    await self._intake.change(change, f"discord:{message_id}:delete")

        async with self._backlog.turn(int(place.channel)):
            await insist(delete)
