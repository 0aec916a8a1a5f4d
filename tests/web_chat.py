"""The web chat for tests: the real page and endpoints on loopback, and an intake that writes down changes."""

import asyncio
import contextlib

import uvicorn

from bots.relay import RelaySender
from bots.tasks import end


@contextlib.asynccontextmanager
async def serving(app):
    """The address of an application, served as `frontdesk web` does."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), task.result()
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait({task}, timeout=5)
        await end(task)


class Intake:
    """What the page hands in, to be awaited: the test is the worker, and answers by `sender`."""

    def __init__(self, store):
        self.messages, self.changes, self.ratings = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
        self.sender = RelaySender(store.relay)

    async def receive(self, message, also=()):
        self.messages.put_nowait(message)
        return True

    async def change(self, change, event_id=""):
        self.changes.put_nowait(change)

    async def rate(self, rating):
        self.ratings.put_nowait(rating)

    async def asked(self):
        """The next message."""
        return await asyncio.wait_for(self.messages.get(), 5)

    async def changed(self):
        """The next change."""
        return await asyncio.wait_for(self.changes.get(), 5)

    async def rated(self):
        """The next rating."""
        return await asyncio.wait_for(self.ratings.get(), 5)
