"""Reading OpenAI's chat completions as servers really speak them: ours, vLLM's, transformers', hosted ones.

Liberal in what it takes: comment lines, a first chunk with only a role, usage beside the last choice or
in a chunk of its own with no choices, `[DONE]` or just the end of the body. An end without a
`finish_reason` is a broken answer and raises.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from engine.errors import (
    BadRequest,
    ContextTooLong,
    EngineError,
    RemoteFailed,
    Unauthorised,
    Unavailable,
    UnknownModel,
)
from engine.types import ChatTurn, FinishReason, Progress, Sampling, TokenLogprob, Usage

# vLLM's own, and of OpenAI's what not every server has.
_UNCOMMON = (
    "min_tokens",
    "ignore_eos",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)


@dataclass(slots=True)
class Completion:
    """What a finished stream told beside its text."""

    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    model: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)
    logprobs: tuple[TokenLogprob, ...] = ()


def body(turns: tuple[ChatTurn, ...] | list[ChatTurn], sampling: Sampling, model: str) -> dict[str, Any]:
    """A streaming chat-completions request that every dialect understands."""
    request: dict[str, Any] = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    optional = {"max_tokens": sampling.max_tokens, "seed": sampling.seed, "stop": list(sampling.stop)}
    request.update({name: value for name, value in optional.items() if value not in (None, [])})
    # Sent only when they differ from the defaults: hosted servers refuse what they do not know.
    defaults = Sampling()
    for name in _UNCOMMON:
        if (value := getattr(sampling, name)) != getattr(defaults, name):
            request[name] = value
    if sampling.logprobs is not None:
        request.update(logprobs=True, top_logprobs=sampling.logprobs)
    return request


async def stream_chat(
    session: aiohttp.ClientSession, url: str, request: Mapping[str, Any], headers: Mapping[str, str]
) -> AsyncGenerator[str | Progress | Completion, None]:
    """Yield pieces of text, then one `Completion`. Closing the iterator closes the connection.

    Our own server also tells its progress.

    Raises `Unavailable` when the server cannot be reached or says 429 or 5xx, `Unauthorised` on 401,
    `UnknownModel` on 404, `BadRequest` on other 4xx, `RemoteFailed` when the answer breaks off.
    """
    try:
        # A file: aiohttp warns of large bodies in one piece, and a customer's text may be 10 MB.
        content = io.BytesIO(json.dumps(request).encode())
        headers = {"Content-Type": "application/json", **headers}
        async with session.post(url, data=content, headers=headers) as response:
            if response.status != 200:
                raise await _error(response)
            async for item in _read(response):
                yield item
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as error:
        raise RemoteFailed("The model's server broke off in the middle of the answer.") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"The model's server at {url} cannot be reached.") from error


async def _read(response: aiohttp.ClientResponse) -> AsyncGenerator[str | Progress | Completion, None]:
    completion, is_finished = Completion(), False
    logprobs: list[TokenLogprob] = []
    async for chunk in _events(response):
        if error := chunk.get("error"):
            raise RemoteFailed(str(error.get("message", error) if isinstance(error, dict) else error))
        completion.model = chunk.get("model") or completion.model
        if usage := chunk.get("usage"):
            completion.usage = Usage(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        if extras := chunk.get("frontdesk"):
            if progress := extras.get("progress"):
                yield Progress(progress["done"], progress["total"])
            else:
                completion.extras = extras
        for choice in chunk.get("choices") or ():
            if text := (choice.get("delta") or {}).get("content"):
                yield text
            logprobs += _logprobs(choice)
            if reason := choice.get("finish_reason"):
                is_finished = True
                completion.finish_reason = "length" if reason == "length" else "stop"
    if not is_finished:
        raise RemoteFailed("The model's server ended its answer without saying that it was finished.")
    completion.logprobs = tuple(logprobs)
    yield completion


def _logprobs(choice: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """What a choice tells of its tokens, all at once or with every piece of text; a broken list is none."""
    try:
        content = (choice.get("logprobs") or {}).get("content") or ()
        return tuple(_token(found, tuple(map(_token, found.get("top_logprobs") or ()))) for found in content)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _token(found: Mapping[str, Any], top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    return TokenLogprob(str(found["token"]), float(found["logprob"]), bytes(found.get("bytes") or ()), top)


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON objects of a server-sent event stream, up to `[DONE]` or its end."""
    buffer = b""
    async for piece in response.content.iter_any():
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            if (event := _event(line)) is not None:
                if event == "[DONE]":
                    return
                yield _parse(event)
    if (event := _event(buffer)) not in (None, "[DONE]"):
        yield _parse(str(event))


def _event(line: bytes) -> str | None:
    text = line.decode("utf-8", "replace").strip()
    return text.removeprefix("data:").strip() or None if text.startswith("data:") else None


def _parse(event: str) -> dict[str, Any]:
    try:
        parsed = json.loads(event)
    except ValueError as error:
        raise RemoteFailed("The model's server sent something that is no JSON.") from error
    if not isinstance(parsed, dict):
        raise RemoteFailed("The model's server sent something that is no completion chunk.")
    return parsed


async def _error(response: aiohttp.ClientResponse) -> EngineError:
    """The error that an HTTP status and body mean, ours or another server's."""
    try:
        found = (await response.json(content_type=None)).get("error") or {}
    except (TimeoutError, ValueError, AttributeError, aiohttp.ClientError):
        found = {}
    if not isinstance(found, dict):
        found = {"message": str(found)}
    message = str(found.get("message") or f"The model's server answered {response.status}.")
    if response.status == 401:
        return Unauthorised(message)
    if response.status == 404:
        return UnknownModel(message)
    if response.status == 429 or response.status >= 500:
        return Unavailable(message, retry_after=_seconds(response.headers.get("Retry-After")))
    if found.get("code") == ContextTooLong.code and "limit" in found:
        return ContextTooLong(tokens=int(found.get("tokens", 0)), limit=int(found["limit"]))
    return BadRequest(message)


def _seconds(header: str | None) -> int:
    return int(header) if header and header.isdigit() else 5
