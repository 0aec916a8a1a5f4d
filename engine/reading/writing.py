"""Having a model write about a text, many windows at a time, and keeping only what the text supports."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TypeVar

from engine.generation import Ended, Generator
from engine.reading.long_text import Stretch
from engine.support.support import SentenceCutter, Support, has_substance
from engine.types import ChatRequest, ChatTurn, Sampling, Usage

# Windows that the model works on at once: the batch takes them together.
_AT_ONCE = 4
# Tokens: of one note, and without which writing is not begun.
_MOST_TOKENS, _LEAST_TOKENS = 160, 16
# Seconds before a request's deadline at which no more is read, so that what was found is still told.
_TELL_SECONDS = 5.0

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Written:
    """The supported sentences, each with the row of the source that supports it."""

    sentences: tuple[tuple[str, int], ...] = ()
    usage: Usage = Usage()


async def write(
    generator: Generator, turn: ChatTurn, sources: Sequence[str], request: ChatRequest
) -> Written:
    """What the model writes to `turn`, less what no source supports and what says nothing."""
    room = generator.context_length - generator.count([turn])
    if room < _LEAST_TOKENS:  # the template took what was left
        return Written()
    sampling = Sampling(max_tokens=min(room, _MOST_TOKENS), seed=request.sampling.seed)
    cutter, usage, said = SentenceCutter(), Usage(), list[str]()
    pieces = generator.generate([turn], sampling, request.deadline, request.conversation)
    async with aclosing(pieces):
        async for item in pieces:
            if isinstance(item, Ended):
                usage = item.usage
                said.append(cutter.close() if item.finish_reason == "stop" else "")
            else:
                said.extend(cutter.feed(item))
    return Written(await asyncio.to_thread(_held_to, sources, said), usage)


def _held_to(sources: Sequence[str], said: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The sentences that the sources support and that say something, each once."""
    support = Support(sources)
    found = {one.strip(): support.find(one) for one in said if has_substance(one)}
    return tuple((one, row) for one, row in found.items() if row is not None)


def sources_of(sentences: Sequence[Stretch]) -> list[Stretch]:
    """What may support a sentence: one of these, or two neighbours that it joins."""
    joined = [Stretch(first.source, first.start, second.end) for first, second in pairwise(sentences)]
    return [*sentences, *joined]


async def in_order(
    make: Callable[[_Item], Awaitable[_Made]], items: Iterable[_Item], deadline: float | None = None
) -> AsyncGenerator[_Made, None]:
    """Yield what `make` makes of each item, in their order, a few worked on at a time.

    Closing this cancels them all. Near the deadline, in seconds on the monotonic clock, it ends early.
    """
    ahead = iter(items)
    working: deque[asyncio.Future[_Made]] = deque()
    try:
        while True:
            working.extend(
                asyncio.ensure_future(make(item)) for item in islice(ahead, _AT_ONCE - len(working))
            )
            if not working or not await _is_done(working[0], deadline):
                return
            yield working.popleft().result()
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def has_time(deadline: float | None) -> bool:
    """Whether there is time to go on reading before `deadline`, in seconds on the monotonic clock."""
    return deadline is None or time.monotonic() < deadline - _TELL_SECONDS


async def _is_done(task: asyncio.Future[_Made], deadline: float | None) -> bool:
    left = None if deadline is None else max(0.0, deadline - _TELL_SECONDS - time.monotonic())
    await asyncio.wait({task}, timeout=left)
    return task.done()


def add(first: Usage, second: Usage) -> Usage:
    """Both together."""
    return Usage(
        first.prompt_tokens + second.prompt_tokens, first.completion_tokens + second.completion_tokens
    )
