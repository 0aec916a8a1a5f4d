"""The smallest platform there can be, for `frontdesk bench delivery`: posts and edits over HTTP on loopback.

The server keeps nothing but when each answer was whole. The sender is a real one: requests on a pool of
connections, a post known by its nonce.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from bots.errors import FileRefused
from bots.message import Attachment, Message, Part, Provisional, Reply
from engine.types import TextFile

NAME = "bench"


class BenchPlatform:
    """`whole_at` says when each question's answer was whole, on the monotonic clock."""

    def __init__(self) -> None:
        self.url = ""
        self.whole_at: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[BenchPlatform]:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/posts", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/posts"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def answered(self, message_id: str) -> float:
        """Wait until the answer is whole; when that was."""
        if message_id not in self.whole_at:
            await self._waiting.setdefault(message_id, asyncio.get_running_loop().create_future())
        return self.whole_at[message_id]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not body["is_growing"]:
            self.whole_at.setdefault(body["turn"], time.monotonic())
            if waiting := self._waiting.pop(body["turn"], None):
                waiting.set_result(None)
        return web.json_response({"id": body["turn"]})


class BenchSender:
    """The sending half."""

    limit = 2000
    edit_seconds = 1.2
    shows_citations = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession()

    async def typing(self, message: Message) -> None:
        """Nobody watches."""

    async def post(self, message: Message, text: str, *, nonce: str, is_retry: bool, is_growing: bool) -> str:
        return await self._send(message, text, is_growing=is_growing)

    async def edit(self, message: Message, ref: str, text: str, *, is_growing: bool) -> None:
        await self._send(message, text, is_growing=is_growing)

    async def _send(self, message: Message, text: str, *, is_growing: bool) -> str:
        body = {"turn": message.id, "text": text, "is_growing": is_growing}
        async with self._session.post(self._url, json=body) as response:
            return str((await response.json())["id"])

    async def post_file(self, message: Message, file: TextFile, *, nonce: str, is_retry: bool) -> str:
        return await self._send(message, file.text, is_growing=False)

    async def delete(self, message: Message, ref: str) -> None:
        """Nothing is kept."""

    async def fetch(self, message: Message, file: Attachment) -> bytes:
        raise FileRefused("not_fetched", "there are no files here")

    async def name_of(self, message: Message) -> str:
        return ""

    async def progress(self, message: Message, provisional: Provisional) -> bool:
        return True

    async def finish(
        self, message: Message, parts: Sequence[Part], reply: Reply, options: Sequence[str]
    ) -> None:
        """Nothing belongs to a text here."""

    def link_to(self, message: Message) -> str:
        return ""

    async def close(self) -> None:
        await self._session.close()
