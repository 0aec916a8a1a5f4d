"""Where people talk to the bot: one module or folder a platform, whose two halves `Platform` describes.

The web page and the terminal are at home here too, but are no `Platform`s: they share our own relay.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from bots.adapter import Receiver, Sender
from bots.pulse import Pulse
from bots.registry import Registry
from bots.settings import Settings

if TYPE_CHECKING:
    from bots.build import Store


class Platform(Protocol):
    """What a platform's module offers."""

    def make_receiver(self, settings: Settings, store: Store, registry: Registry, pulse: Pulse) -> Receiver:
        """The receiving half. Raises `StartError` for settings that it cannot work with."""
        ...

    async def open_sender(self, settings: Settings, store: Store) -> Sender:
        """The sending half, logged in. Raises `WrongToken`; a platform that is down is tried again later."""
        ...


def load(name: str) -> Platform:
    """The platform's module. Not imported before it is needed: some take a second."""
    return cast(Platform, importlib.import_module(f"bots.platforms.{name}"))
