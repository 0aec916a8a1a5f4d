"""The engine's HTTP face: OpenAI's chat completions, so that any client works unchanged.

No bind beyond loopback without a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from engine.completions import ChatBody, Shape, error_body, sse
from engine.errors import BadRequest, EngineError, Unauthorised, Unavailable, UnknownModel
from engine.health import Metrics, Readiness
from engine.service import EngineService
from engine.types import Outcome, Piece, Progress

_T = TypeVar("_T")


def create_app(service: EngineService, *, key: str | None) -> FastAPI:
    """The application around a service. Without a key everybody who can connect may ask."""
    metrics, readiness = Metrics(service), Readiness(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            fresh = tasks.create_task(service.knowledge.keep_fresh())
            yield
            fresh.cancel()
        await service.generator.close()

    app = FastAPI(
        title="frontdesk engine", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    _answer_errors_like_openai(app)

    def authorised(request: Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if key is not None and not hmac.compare_digest(given.encode(), key.encode()):
            raise Unauthorised("Wrong or missing API key: send it as 'Authorization: Bearer …'.")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        is_ready = await readiness.check()
        content = {
            "status": "ready" if is_ready else "not ready",
            "model": service.generator.name,
            "passages": len(service.knowledge.index.passages),
        }
        return JSONResponse(content, 200 if is_ready else 503)

    @app.get("/metrics")
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models", dependencies=[Depends(authorised)])
    async def models() -> dict[str, Any]:
        model = {
            "id": service.generator.name,
            "object": "model",
            "created": 0,
            "owned_by": "frontdesk",
            "max_model_len": service.generator.context_length,
        }
        return {"object": "list", "data": [model]}

    @app.post("/v1/chat/completions", dependencies=[Depends(authorised)])
    async def chat_completions(body: ChatBody, request: Request) -> Response:
        if body.model and body.model != service.generator.name:
            raise UnknownModel(f"There is no model {body.model!r} here, only {service.generator.name!r}.")
        answer = _observed(service.chat(body.to_request()), metrics)
        shape = Shape(service.generator.name)
        if not body.stream:
            whole = await _while_connected(_collect(answer), request)
            return _GONE if whole is None else JSONResponse(shape.whole(*whole))
        # The first item is awaited here for a while, so that a request that cannot be answered gets its
        # HTTP status.
        pulsed = _pulsed(answer)
        first = await _while_connected(_first(pulsed), request)
        if first is None:
            return _GONE
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(
            _events(first, pulsed, shape, include_usage), media_type="text/event-stream", headers=_UNBUFFERED
        )

    return app


# How long an answer may keep its reader waiting without a sign of life.
_PULSE_SECONDS = 5.0
_GONE = Response(status_code=499)  # nobody reads it
_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def check_bind(host: str, key: str | None) -> None:
    """Raise `BadRequest` for an address that others can reach when there is no key to keep them out."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if host != "localhost" and not key:
        raise BadRequest(f"engine_host {host} can be reached by others: set FRONTDESK_ENGINE_KEY as well.")


async def _observed(answer: AsyncGenerator[Piece, None], metrics: Metrics) -> AsyncGenerator[Piece, None]:
    """The same answer, counted. A decoupled task lets a closed reader cancel at any point."""
    started, is_first = time.monotonic(), True
    async with aclosing(answer):
        async for item in answer:
            if isinstance(item, Outcome):
                metrics.decisions.labels(item.decision).inc()
                metrics.tokens.inc(item.usage.completion_tokens)
            elif is_first and isinstance(item, str):
                is_first = False
                metrics.first_text.observe(time.monotonic() - started)
            yield item


async def _while_connected(work: Coroutine[Any, Any, _T], request: Request) -> _T | None:
    """What `work` returns, or None when the client went away, which cancels it."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=0.5)
            if await request.is_disconnected():
                return None
        return task.result()
    finally:
        task.cancel()


class _Pulse:
    """Nothing new, but the answer is being worked on."""


async def _pulsed(answer: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece | _Pulse, None]:
    """The same answer, and a sign of life whenever it takes longer: who waits tells slow from hung by it."""
    async with aclosing(answer):
        while True:
            coming = asyncio.ensure_future(anext(answer, None))
            try:
                while not (await asyncio.wait({coming}, timeout=_PULSE_SECONDS))[0]:
                    yield _Pulse()
            finally:
                if not coming.done():
                    coming.cancel()
                    await asyncio.wait({coming})
            if (item := coming.result()) is None:
                return
            yield item


async def _first(answer: AsyncGenerator[Piece | _Pulse, None]) -> Piece | _Pulse:
    return await anext(answer)


async def _collect(answer: AsyncGenerator[Piece, None]) -> tuple[str, Outcome]:
    text, outcome = "", Outcome()
    async with aclosing(answer):
        async for item in answer:
            if isinstance(item, Outcome):
                outcome = item
            elif isinstance(item, str):
                text += item
    return text, outcome


async def _events(
    first: Piece | _Pulse,
    answer: AsyncGenerator[Piece | _Pulse, None],
    shape: Shape,
    include_usage: bool,
) -> AsyncGenerator[str, None]:
    """Server-sent events. Starlette closes this when the client goes away, which closes the answer."""
    async with aclosing(answer):
        yield sse(shape.chunk({"role": "assistant", "content": ""}))
        try:
            async for item in _chain(first, answer):
                if isinstance(item, Outcome):
                    yield sse(shape.chunk({}, item))
                    if include_usage:
                        yield sse(shape.usage(item))
                elif isinstance(item, Progress):
                    yield sse(shape.progress(item))
                elif isinstance(item, _Pulse):
                    yield ": still working\n\n"
                else:
                    yield sse(shape.chunk({"content": item}))
        except EngineError as error:
            yield sse(error_body(error))
        yield "data: [DONE]\n\n"


async def _chain(
    first: Piece | _Pulse, rest: AsyncGenerator[Piece | _Pulse, None]
) -> AsyncGenerator[Piece | _Pulse, None]:
    yield first
    async for item in rest:
        yield item


def _answer_errors_like_openai(app: FastAPI) -> None:
    async def engine_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, EngineError)
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Unavailable) else {}
        return JSONResponse(error_body(error), error.status, headers)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse(error_body(BadRequest(f"{where}: {first['msg']}")), 400)

    async def not_found(request: Request, _: Exception) -> JSONResponse:
        return JSONResponse(error_body(UnknownModel(f"There is nothing at {request.url.path}.")), 404)

    handlers: dict[type[Exception] | int, Callable[[Request, Exception], Awaitable[Response]]] = {
        EngineError: engine_error,
        RequestValidationError: invalid,
        404: not_found,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
