"""Running parts of frontdesk inside a test, and ending them again."""

import asyncio
import contextlib

from bots.build import build_worker
from bots.commands import Registry


@contextlib.asynccontextmanager
async def background(coroutine):
    """A task beside the test; an error in it is the test's."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
        if task.done():
            task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def working(store, engine, senders, registry=None):
    """A worker, as `frontdesk worker` runs it."""
    if registry is None:
        registry = Registry()
        registry.load(["plugins"])
    stop = asyncio.Event()
    async with background(build_worker(store, engine, registry, senders).run(stop)) as task:
        yield
        stop.set()
        await asyncio.wait_for(task, 15)
