"""Calls to Slack that nobody waits for: an event must be acknowledged within seconds, whatever Slack does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from bots.platforms.slack.calls import NO_ANSWER
from bots.tasks import end
from engine.log import logger

log = logger("bots.slack")

_SECONDS = 30.0


class Errands:
    """Started and forgotten: what fails is logged. Lost when the process ends."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, what: str, errand: Coroutine[Any, Any, object]) -> None:
        """Run `errand`; `what` names it in the log."""
        task = asyncio.create_task(_run(what, errand))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End what still runs."""
        for task in list(self._running):
            await end(task)


async def _run(what: str, errand: Coroutine[Any, Any, object]) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            await errand
    except (*NO_ANSWER, TimeoutError) as error:
        log.warning("a call to Slack failed", call=what, reason=str(error))
