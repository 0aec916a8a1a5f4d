"""The engine over HTTP for the fault suite: well, dead, hanging, failing, breaking off, or babbling."""

import asyncio
import itertools
import json
import os

from aiohttp import web
from fault_judge import QUESTION


class EngineServer:
    """`mode`: well, dead (connections are cut), 500, half (the stream ends early), garbage, hang."""

    def __init__(self):
        self.mode, self.asked = "well", 0
        self._numbers = itertools.count()
        self._was_asked = asyncio.Event()
        self._changed = asyncio.Event()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def until_asked(self):
        """Wait for the first request."""
        async with asyncio.timeout(10):
            await self._was_asked.wait()

    async def _chat(self, request):
        asked = (await request.json())["messages"][-1]["content"]
        self.asked += 1
        self._was_asked.set()
        match self.mode:
            case "dead":
                request.transport.abort()
                return web.Response()
            case "500":
                return web.json_response({"error": {"message": "CUDA error: illegal access"}}, status=500)
            case "hang":
                while self.mode == "hang":
                    await asyncio.sleep(0.05)
                request.transport.abort()
                return web.Response()
        return await self._stream(request, QUESTION.search(asked)[0])

    async def _stream(self, request, question):
        made = f"g{os.getpid()}x{next(self._numbers)}"
        words = f"About {question}: you can return it within a month. Made as {made}.".split(" ")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, word in enumerate(words):
            if self.mode == "garbage" and number == 3:
                await response.write(b"data: {this is no JSON\n\n")
            if self.mode == "half" and number == 5:
                request.transport.abort()
                return response
            await response.write(_chunk({"content": f"{word} " if number + 1 < len(words) else word}, None))
        await response.write(_chunk({}, "stop") + b"data: [DONE]\n\n")
        return response


def _chunk(delta, reason):
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    body = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "scripted",
        "choices": [choice],
    }
    return f"data: {json.dumps(body)}\n\n".encode()
