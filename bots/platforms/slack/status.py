"""What Slack shows while an answer is being made: the session's status with its stop button, or a line.

It is a courtesy: nothing here ever fails or holds up an answer, and where Slack refuses it, it is left away.
https://docs.slack.dev/ai/agent-sessions
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any

from bots.errors import PlatformBusy, PlatformRefused
from bots.message import Message
from bots.platforms.slack.calls import Calls
from bots.platforms.slack.streams import thread_of
from bots.platforms.slack.text import cut
from engine.filter import mask_placeholders
from engine.log import logger

_LONGEST_TITLE = 200
# Slack takes a status away after two minutes.
_AGAIN_SECONDS = 90.0
# A status that takes longer is not worth waiting for.
_MOST_SECONDS = 2.0
_MOST_TURNS = _MOST_REFUSALS = 1_000
# Slack puts the app's name before it, and frontdesk does not know yet in which language it will answer.
_BUSY = "…"

log = logger("bots.slack")


class Status:
    """The status of every conversation that is being answered here."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._shown: OrderedDict[str, float] = OrderedDict()
        self._refusals: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    async def begin(self, message: Message) -> None:
        """Show that the bot works, now and again every 90 seconds of a turn."""
        if time.monotonic() - self._shown.get(message.id, float("-inf")) < _AGAIN_SECONDS:
            return
        self._shown[message.id] = time.monotonic()
        if len(self._shown) > _MOST_TURNS:
            self._shown.popitem(last=False)
        if message.is_private and await self._show(message, "agents_sessions_setStatus", **_session(message)):
            return
        if thread_of(message):
            await self._show(message, "assistant_threads_setStatus", status=_BUSY)

    async def _show(self, message: Message, method: str, **arguments: Any) -> bool:
        if not self._calls.can_spare(message, method):
            return True
        return await self._set(message, method, **arguments)

    async def end(self, message: Message, *, was_stopped: bool = False) -> None:
        """The session waits for its person again; a line goes by itself with the first post.

        Parameters
          was_stopped: by its button, which stays until then, whoever began
        """
        is_shown = self._shown.pop(message.id, None) is not None
        if message.is_private and (is_shown or was_stopped):
            await self._set(message, "agents_sessions_setStatus", status="active")

    async def _set(self, message: Message, method: str, **arguments: Any) -> bool:
        """False where Slack does not do that."""
        channel = message.conversation.channel
        place = message.conversation.workspace, channel, method
        if place in self._refusals:
            return False
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                thread = thread_of(message)
                await self._calls.call(message, method, channel_id=channel, thread_ts=thread, **arguments)
        except PlatformRefused as error:
            self._refusals[place] = None
            if len(self._refusals) > _MOST_REFUSALS:
                self._refusals.popitem(last=False)
            log.info("Slack shows no status in a channel", method=method, reason=error.reason)
            return False
        except (PlatformBusy, TimeoutError) as error:
            log.debug("a status was left away", method=method, reason=str(error))
        return True


def _session(message: Message) -> dict[str, str]:
    """The session is called by the words that began it."""
    about = {"status": "processing", "initiator_user_id": message.author.id}
    title = " ".join(mask_placeholders(message.text).split())
    if title and message.id.rpartition(":")[2] == (thread_of(message) or ""):
        about["title"] = cut(title, _LONGEST_TITLE)
    return about
