"""Discord, through discord.py: messages, threads, slash commands, menus, modals and buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bots.adapter import Receiver, Sender
from bots.errors import PlatformBusy, StartError
from bots.platforms.discord.receiver import DiscordReceiver
from bots.platforms.discord.rest import redirect
from bots.platforms.discord.sender import DiscordSender
from bots.pulse import Pulse
from bots.registry import Registry
from bots.settings import Settings, secret
from engine.log import logger

if TYPE_CHECKING:
    from bots.build import Store

__all__ = ["DiscordReceiver", "DiscordSender", "make_receiver", "open_sender", "redirect"]

log = logger("bots.discord")


def make_receiver(settings: Settings, store: Store, registry: Registry, pulse: Pulse) -> Receiver:
    """See `bots.platforms.Platform`."""
    redirect(settings.discord_api_url, settings.discord_gateway_url)
    return DiscordReceiver(
        _token(settings),
        store.intake,
        store.redis,
        pulse,
        commands=registry.commands.values(),
        auto_channels=settings.auto_channels_of("discord"),
        message_content=settings.discord_message_content,
        knows=store.history.has,
    )


async def open_sender(settings: Settings, store: Store) -> Sender:
    """See `bots.platforms.Platform`."""
    redirect(settings.discord_api_url, settings.discord_gateway_url)
    sender = DiscordSender(_token(settings))
    try:
        await sender.open()
    except PlatformBusy as error:
        log.warning("Discord is tried again with the first answer", reason=str(error))
    return sender


def _token(settings: Settings) -> str:
    token = secret(settings.discord_token)
    if token is None:
        raise StartError("there is no Discord token: set FRONTDESK_DISCORD_TOKEN")
    return token
