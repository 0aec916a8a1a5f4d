"""Throughput through HTTP with streaming clients, beside the engine's own with the same prompts."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import aiohttp

from engine.bench import figures, roster
from engine.bench.contestant import CannotRun, Workload
from engine.bench.models import RandomModel
from engine.bench.plan import Plan
from engine.bench.process import ContestantProcess, Process
from engine.bench.row import Row
from engine.prompt import encode
from engine.types import ChatTurn

PART = "http"
OVER_ENGINE = "share_of_engine"
# What the chat template adds around a message, in tokens, at most.
_FRAME_TOKENS = 40
_PAUSE_SECONDS = 0.3


def measure(plan: Plan, model: RandomModel, say: Callable[[str], None]) -> list[Row]:
    """Rows for both ways and the share that HTTP leaves, in percent."""
    name = f"{roster.OURS}-{plan.precision}"
    arguments = (str(model.directory), plan.device, plan.precision, str(plan.http_clients))
    through, alone = [], []
    try:
        with Process("engine.bench.http_child", *arguments) as server:
            port: int = server.read()["port"]
            workload = Workload(plan.http_clients, plan.prompt_tokens + _FRAME_TOKENS + plan.new_tokens)
            engine = ContestantProcess(name, model.directory, plan.device, workload)
            try:
                for repeat in range(-1, plan.repeats):
                    messages = _messages(plan, f"http {repeat}")
                    own = _alone(engine, plan, model, messages)
                    streamed = _through(port, plan, messages)
                    if repeat >= 0:  # the first is for warming up
                        alone.append(own)
                        through.append(streamed)
                        say(f"  engine {own:.1f} tokens/s, through HTTP {streamed:.1f}")
            finally:
                engine.close()
    except CannotRun as reason:
        return [figures.skipped(model.name, name, PART, str(reason))]
    share = 100 * median(through) / median(alone)
    base = (PART, model.name, name, plan.http_clients)
    return [
        Row("engine_throughput", median(alone), "tokens/s", *base, values=tuple(alone)),
        Row(figures.THROUGHPUT, median(through), "tokens/s", *base, values=tuple(through)),
        Row(OVER_ENGINE, share, "%", *base),
    ]


def _messages(plan: Plan, label: str) -> list[str]:
    """Texts that become about `prompt_tokens` tokens with the chat template around them."""
    source = random.Random(label)
    length = plan.prompt_tokens - _FRAME_TOKENS
    letters = "abcdefghijklmnopqrstuvwxyz    "
    return ["".join(source.choices(letters, k=length)) + "?" for _ in range(plan.http_clients)]


def _alone(engine: ContestantProcess, plan: Plan, model: RandomModel, messages: list[str]) -> float:
    """Tokens a second without HTTP."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.directory)
    prompts = [encode(tokenizer, [ChatTurn("user", message)]) for message in messages]
    time.sleep(_PAUSE_SECONDS)
    run = engine.generate(prompts, plan.new_tokens)
    return run.tokens / run.seconds


def _through(port: int, plan: Plan, messages: list[str]) -> float:
    """Tokens a second that all clients together received."""
    time.sleep(_PAUSE_SECONDS)
    return asyncio.run(_ask_all(port, plan.new_tokens, messages))


async def _ask_all(port: int, new_tokens: int, messages: list[str]) -> float:
    address = f"http://127.0.0.1:{port}"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(address, connector=connector) as session:
        begun = time.perf_counter()
        bodies = await asyncio.gather(*(_ask(session, message, new_tokens) for message in messages))
        seconds = time.perf_counter() - begun
    counts = [_tokens(body) for body in bodies]
    if any(count != new_tokens for count in counts):
        raise CannotRun(f"through HTTP {sum(counts)} tokens came, not {len(messages)} × {new_tokens}")
    return sum(counts) / seconds


async def _ask(session: aiohttp.ClientSession, message: str, new_tokens: int) -> bytes:
    """The whole stream, read piece by piece as it comes and parsed only afterwards."""
    request: dict[str, Any] = {
        "messages": [{"role": "user", "content": message}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": new_tokens,
        "ignore_eos": True,
        "frontdesk": {"knowledge": False},
    }
    received = bytearray()
    async with session.post("/v1/chat/completions", json=request) as response:
        async for piece in response.content.iter_any():
            received += piece
        if response.status != 200:
            raise CannotRun(f"the server answered {response.status}: {received[:200].decode()}")
    return bytes(received)


def _tokens(body: bytes) -> int:
    """Tokens of the answer, as the stream's usage says."""
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: {")]
    usages = [usage for line in lines if (usage := json.loads(line).get("usage"))]
    return int(usages[-1]["completion_tokens"]) if usages else 0
