"""What people are called in Slack, asked once an hour at most."""

from __future__ import annotations

import time
from collections import OrderedDict

from bots.errors import PlatformBusy, PlatformRefused
from bots.message import Message
from bots.platforms.slack.calls import Calls
from engine.log import logger

_MOST_NAMES = 1_000
_KEPT_SECONDS = 3_600.0

log = logger("bots.slack")


class Names:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._names: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    async def of(self, message: Message) -> str:
        """The author's display name; empty when Slack does not say."""
        key = message.conversation.workspace, message.author.id
        name, until = self._names.get(key, ("", 0.0))
        if until > time.monotonic():
            return name
        try:
            name = await self._ask(message)
        except PlatformBusy as error:
            log.debug("somebody's name was left away", reason=str(error))
            return ""
        except PlatformRefused as error:
            log.debug("somebody's name is not to be had", reason=str(error))
            name = ""
        self._names[key] = name, time.monotonic() + _KEPT_SECONDS
        if len(self._names) > _MOST_NAMES:
            self._names.popitem(last=False)
        return name

    async def _ask(self, message: Message) -> str:
        user = (await self._calls.call(message, "users_info", user=message.author.id))["user"]
        profile = user.get("profile") or {}
        return str(profile.get("display_name") or profile.get("real_name") or user.get("name") or "")
