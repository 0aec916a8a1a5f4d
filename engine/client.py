"""The engine over HTTP, for the chat side. Needs no torch."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import aiohttp

from engine.openai_stream import Completion, body, stream_chat
from engine.types import ChatRequest, Outcome, Piece

# The engine shows every five seconds that it works: one that is silent for so long hangs.
SILENCE_SECONDS = 20.0


class EngineClient:
    """Talks to `frontdesk engine` at `url`. One connection pool; close it at the end."""

    def __init__(self, url: str, key: str | None = None, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._silence_seconds = silence_seconds
        self._session: aiohttp.ClientSession | None = None

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_read=self._silence_seconds)
            self._session = aiohttp.ClientSession(timeout=timeout)
        return self._session

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """Yield pieces of the answer, its `Outcome` last. Closing the iterator stops the generation.

        Raises what `engine.openai_stream.stream_chat` raises.
        """
        content = body(list(request.turns), request.sampling, "")
        content["frontdesk"] = {
            "conversation": request.conversation,
            "knowledge": request.knowledge,
            "task": request.task,
            "summary": request.summary,
            "language": request.language,
            "files": [asdict(file) for file in request.files],
        }
        pieces = stream_chat(self._http, f"{self._url}/v1/chat/completions", content, self._headers)
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Completion):
                    yield Outcome.from_extras(
                        piece.extras,
                        usage=piece.usage,
                        finish_reason=piece.finish_reason,
                        model=piece.model,
                        logprobs=piece.logprobs,
                    )
                else:
                    yield piece

    async def ready(self) -> dict[str, Any] | None:
        """What `/ready` says, or None when nothing there is ready."""
        try:
            timeout = aiohttp.ClientTimeout(total=15, connect=2)
            async with self._http.get(f"{self._url}/ready", timeout=timeout) as response:
                found: dict[str, Any] | None = await response.json() if response.status == 200 else None
                return found
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
