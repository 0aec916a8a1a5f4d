"""The receiving half: keeps one connection to the gateway, and makes another when that one is dead."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from redis.asyncio import Redis

from bots.commands import Command
from bots.errors import PlatformBusy
from bots.intake import Intake
from bots.message import ConversationKey
from bots.platforms.discord.faults import login_faults
from bots.platforms.discord.gateway import Gateway
from bots.platforms.discord.question import Audience, Knows
from bots.platforms.discord.slash import Slash
from bots.pulse import Pulse
from bots.tasks import end

SILENT_SECONDS = 90.0
"""Discord answers a heartbeat every 41 seconds."""
# Beginning a session is limited to a thousand times a day; after that Discord resets the token.
_AGAIN_SECONDS = 5.0
# For storing what was received when the process is told to end.
_SETTLE_SECONDS = 5.0


async def _nobody(conversation: ConversationKey) -> bool:
    return False


class DiscordReceiver:
    """See `bots.adapter.Receiver`."""

    def __init__(
        self,
        token: str,
        intake: Intake,
        redis: Redis,
        pulse: Pulse,
        *,
        commands: Iterable[Command] = (),
        auto_channels: Collection[str] = (),
        message_content: bool = False,
        knows: Knows = _nobody,
        silent_seconds: float = SILENT_SECONDS,
        guild_ready_seconds: float = 2.0,
    ) -> None:
        """
        Parameters
          auto_channels: ids of channels in which every message is answered; they need the intent
          message_content: whether to ask for the privileged intent, with which threads go on unasked
          knows: whether the bot has answered in a conversation
          guild_ready_seconds: see `Gateway`
        """
        self._token, self._intake, self._redis, self._pulse = token, intake, redis, pulse
        self._slash = Slash(commands)
        follows_threads = message_content or bool(auto_channels)
        self._audience = Audience(frozenset(auto_channels), follows_threads, knows)
        self._silent_seconds, self._ready_seconds = silent_seconds, guild_ready_seconds

    async def run_forever(self) -> None:
        """Connect and receive until cancelled. Raises `WrongToken` and `StartError`, and `PlatformBusy` when
        Discord could not be reached at all yet."""
        was_connected = False
        while True:
            gateway = self._gateway()
            try:
                await self._run(gateway)
            except PlatformBusy as error:
                if not (was_connected or gateway.was_connected):
                    raise
                self._pulse.lost(str(error))
                await asyncio.sleep(max(error.retry_after, _AGAIN_SECONDS))
            was_connected = was_connected or gateway.was_connected

    async def _run(self, gateway: Gateway) -> None:
        """One connection: until it fails, or says nothing any more."""
        with login_faults():
            async with gateway:
                running = asyncio.create_task(gateway.start(self._token))
                silence = asyncio.create_task(gateway.silence(self._silent_seconds))
                try:
                    await asyncio.wait({running, silence}, return_when=asyncio.FIRST_COMPLETED)
                    if not running.done():
                        self._pulse.lost("silent", "silent")
                        return
                    await running
                    raise PlatformBusy("Discord has ended the connection")
                finally:
                    try:
                        await gateway.settle(_SETTLE_SECONDS)
                    finally:
                        for task in (running, silence):
                            await end(task)

    def _gateway(self) -> Gateway:
        return Gateway(
            self._intake,
            self._redis,
            self._pulse,
            slash=self._slash,
            audience=self._audience,
            guild_ready_seconds=self._ready_seconds,
        )
