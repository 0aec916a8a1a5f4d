"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel `task` until it has ended; what it raised is dropped.

    Once is not enough: redis-py swallows a cancellation that reaches it at the wrong moment (seen with
    8.1 while it connects; redis-py issues 2028 and 2551), and the task then goes on as if nothing was.
    """
    is_cancelled = False
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait({task}, timeout=0.2)
        except asyncio.CancelledError:  # ours; the task must end first, or it would go on unseen
            is_cancelled = True
    if not task.cancelled():
        task.exception()
    if is_cancelled:
        raise asyncio.CancelledError


@asynccontextmanager
async def beside(running: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run something beside the block, and end it with the block."""
    task = asyncio.create_task(running)
    try:
        yield
    finally:
        await end(task)
