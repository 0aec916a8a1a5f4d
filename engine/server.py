"""The engine's HTTP face: OpenAI's chat completions, so that any client works unchanged.

What is ours travels in one field, `frontdesk`, in and out. No bind beyond loopback without a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from pydantic import BaseModel, ConfigDict, Field

from engine.errors import BadRequest, EngineError, Unauthorised, Unavailable, UnknownModel
from engine.generation.local import LocalGenerator
from engine.log import logger
from engine.service import EngineService
from engine.types import ChatRequest, ChatTurn, Outcome, Role, Sampling, Task

log = logger("engine.server")

_ANSWER_SECONDS = 300
# /ready generates a token itself when none was generated for this long.
_IDLE_SECONDS = 30
_MOST_TOKENS = 32_768

_T = TypeVar("_T")


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class MessageBody(BaseModel):
    """A message as clients send it; roles that came later are read as the ones they replace."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def to_turn(self) -> ChatTurn:
        role: Role = "system" if self.role == "developer" else self.role
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return ChatTurn(role, text)


class StreamOptions(BaseModel):
    include_usage: bool = False


class FrontdeskOptions(BaseModel):
    """The field that is ours."""

    model_config = ConfigDict(extra="forbid")

    conversation: str = ""
    knowledge: bool = True
    task: Task = "answer"


class ChatBody(BaseModel):
    """`POST /v1/chat/completions`. Fields of OpenAI's that change nothing here are ignored."""

    model: str = ""
    messages: Annotated[list[MessageBody], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int | None, Field(ge=1, le=_MOST_TOKENS)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=_MOST_TOKENS)] = None
    min_tokens: Annotated[int, Field(ge=0, le=_MOST_TOKENS)] = 0
    ignore_eos: bool = False
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    top_k: Annotated[int, Field(ge=-1)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    n: Literal[1] | None = None
    frontdesk: FrontdeskOptions = FrontdeskOptions()

    def to_request(self) -> ChatRequest:
        return ChatRequest(
            turns=tuple(message.to_turn() for message in self.messages),
            sampling=Sampling(
                max_tokens=self.max_completion_tokens or self.max_tokens,
                min_tokens=self.min_tokens,
                ignore_eos=self.ignore_eos,
                temperature=self.temperature or 0.0,
                top_p=1.0 if self.top_p is None else self.top_p,
                top_k=max(0, self.top_k),
                min_p=self.min_p,
                repetition_penalty=self.repetition_penalty,
                seed=self.seed,
                stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            ),
            conversation=self.frontdesk.conversation,
            knowledge=self.frontdesk.knowledge,
            task=self.frontdesk.task,
            deadline=time.monotonic() + _ANSWER_SECONDS,
        )


class Metrics:
    """What Prometheus reads, with vLLM's meanings. One registry an application."""

    def __init__(self, service: EngineService) -> None:
        self.registry = CollectorRegistry()
        running = Gauge("frontdesk_num_requests_running", "Sequences in the batch", registry=self.registry)
        waiting = Gauge("frontdesk_num_requests_waiting", "Sequences waiting", registry=self.registry)
        if isinstance(service.generator, LocalGenerator):
            loop = service.generator.loop
            running.set_function(lambda: loop.running)
            waiting.set_function(lambda: loop.waiting)
        passages = Gauge("frontdesk_knowledge_passages", "Passages in the index", registry=self.registry)
        passages.set_function(lambda: len(service.knowledge.index.passages))
        self.decisions = Counter(
            "frontdesk_answers", "Finished answers by decision", ["decision"], registry=self.registry
        )
        self.tokens = Counter("frontdesk_generation_tokens", "Generated tokens", registry=self.registry)
        self.first_text = Histogram(
            "frontdesk_time_to_first_token_seconds",
            "From the request to its first visible text",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )


class Readiness:
    """Whether text came out lately; asks for a token itself when it is long ago."""

    def __init__(self, service: EngineService) -> None:
        self._service = service
        self._last = float("-inf")
        self._lock = asyncio.Lock()

    def note(self) -> None:
        """Text came out just now."""
        self._last = time.monotonic()

    async def check(self) -> bool:
        """True when the model answered within the last half minute, if need be by a probe."""
        async with self._lock:
            if time.monotonic() - self._last > _IDLE_SECONDS:
                await self._probe()
            return time.monotonic() - self._last <= _IDLE_SECONDS

    async def _probe(self) -> None:
        probe = [ChatTurn("user", "ready?")]
        sampling = Sampling(max_tokens=1)
        try:
            async with asyncio.timeout(10):
                pieces = self._service.generator.generate(probe, sampling)
                async with aclosing(pieces):
                    async for _ in pieces:
                        self.note()
        except (EngineError, TimeoutError):
            log.warning("the readiness probe got no token; /ready says no")


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
        answer = _observed(service.chat(body.to_request()), metrics, readiness)
        shape = _Shape(service.generator.name)
        if not body.stream:
            whole = await _while_connected(_collect(answer), request)
            return _GONE if whole is None else JSONResponse(shape.whole(*whole))
        # The first item is awaited here, so that a request that cannot be answered gets its HTTP status.
        first = await _while_connected(_first(answer), request)
        if first is None:
            return _GONE
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(
            _events(first, answer, shape, include_usage), media_type="text/event-stream", headers=_UNBUFFERED
        )

    return app


_GONE = Response(status_code=499)  # nobody reads it
_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def check_bind(host: str, key: str | None) -> None:
    """Raise `BadRequest` for an address that others can reach when there is no key to keep them out."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if host != "localhost" and not key:
        raise BadRequest(f"engine_host {host} can be reached by others: set FRONTDESK_ENGINE_KEY as well.")


async def _observed(
    answer: AsyncGenerator[str | Outcome, None], metrics: Metrics, readiness: Readiness
) -> AsyncGenerator[str | Outcome, None]:
    """The same answer, counted. A decoupled task lets a closed reader cancel at any point."""
    started, is_first = time.monotonic(), True
    async with aclosing(answer):
        async for item in answer:
            if isinstance(item, Outcome):
                metrics.decisions.labels(item.decision).inc()
                metrics.tokens.inc(item.usage.completion_tokens)
                if item.usage.completion_tokens:
                    readiness.note()
            elif is_first:
                is_first = False
                metrics.first_text.observe(time.monotonic() - started)
            yield item


class _Shape:
    """OpenAI's objects around our text."""

    def __init__(self, model: str) -> None:
        self._base = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def chunk(self, delta: dict[str, str], outcome: Outcome | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": outcome.finish_reason if outcome else None}
        ours = {"frontdesk": outcome.extras()} if outcome else {}
        return {**self._base, "object": "chat.completion.chunk", "choices": [choice], **ours}

    def usage(self, outcome: Outcome) -> dict[str, Any]:
        usage = {**_usage(outcome)}
        return {**self._base, "object": "chat.completion.chunk", "choices": [], "usage": usage}

    def whole(self, text: str, outcome: Outcome) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": outcome.finish_reason}
        return {
            **self._base,
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(outcome),
            "frontdesk": outcome.extras(),
        }


def _usage(outcome: Outcome) -> dict[str, int]:
    read, written = outcome.usage.prompt_tokens, outcome.usage.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


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


async def _first(answer: AsyncGenerator[str | Outcome, None]) -> str | Outcome:
    return await anext(answer)


async def _collect(answer: AsyncGenerator[str | Outcome, None]) -> tuple[str, Outcome]:
    text, outcome = "", Outcome()
    async with aclosing(answer):
        async for item in answer:
            if isinstance(item, Outcome):
                outcome = item
            else:
                text += item
    return text, outcome


async def _events(
    first: str | Outcome, answer: AsyncGenerator[str | Outcome, None], shape: _Shape, include_usage: bool
) -> AsyncGenerator[str, None]:
    """Server-sent events. Starlette closes this when the client goes away, which closes the answer."""
    async with aclosing(answer):
        yield _sse(shape.chunk({"role": "assistant", "content": ""}))
        try:
            async for item in _chain(first, answer):
                if isinstance(item, Outcome):
                    yield _sse(shape.chunk({}, item))
                    if include_usage:
                        yield _sse(shape.usage(item))
                else:
                    yield _sse(shape.chunk({"content": item}))
        except EngineError as error:
            yield _sse(_error_body(error))
        yield "data: [DONE]\n\n"


async def _chain(
    first: str | Outcome, rest: AsyncGenerator[str | Outcome, None]
) -> AsyncGenerator[str | Outcome, None]:
    yield first
    async for item in rest:
        yield item


def _sse(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _error_body(error: EngineError) -> dict[str, Any]:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    data = {name: value for name, value in vars(error).items() if isinstance(value, int)}
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.code, **data}}


def _answer_errors_like_openai(app: FastAPI) -> None:
    async def engine_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, EngineError)
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Unavailable) else {}
        return JSONResponse(_error_body(error), error.status, headers)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse(_error_body(BadRequest(f"{where}: {first['msg']}")), 400)

    async def not_found(request: Request, _: Exception) -> JSONResponse:
        return JSONResponse(_error_body(UnknownModel(f"There is nothing at {request.url.path}.")), 404)

    handlers: dict[type[Exception] | int, Callable[[Request, Exception], Awaitable[Response]]] = {
        EngineError: engine_error,
        RequestValidationError: invalid,
        404: not_found,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
