"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel `task` until it has ended; what it raised is dropped.

    Once is not enough: redis-py swallows a cancellation that reaches it at the wrong moment (seen with
    8.1 while it connects; redis-py issues 2028 and 2551), and the task then goes on as if nothing was.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)
    if not task.cancelled():
        task.exception()
