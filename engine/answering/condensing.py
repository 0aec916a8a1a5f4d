"""The rolling summary: old turns of a conversation folded into what was remembered of those before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

from engine.generation import Generator
from engine.prompt import as_data, fill
from engine.reading.tasks import central_sentences, supported
from engine.reading.writing import add
from engine.types import ChatRequest, Outcome, Stopwatch, Usage

# What stands in for the model's words where they are not supported.
_MOST_SENTENCES = 6
_MOST_CHARACTERS = 1200
# To guess what fits beside the summary and the instructions.
_CHARACTERS_A_TOKEN = 2


async def condense(
    generator: Generator, request: ChatRequest, watch: Stopwatch
) -> AsyncGenerator[str | Outcome, None]:
    """Yield a summary of `request.summary` and the turns after it.

    Long stretches are folded in part by part. Each sentence must be supported by what was said; where none
    is, the most central sentences of the summary so far and the turns stand in.
    """
    summary, usage = request.summary, Usage()
    room = generator.context_length // 2 * _CHARACTERS_A_TOKEN
    for said in _parts([f"{turn.role}: {turn.content}" for turn in request.turns], room):
        source = "\n".join(filter(None, (summary, said)))
        turn = fill("history", request.language, text=as_data(source))
        written, used = await supported(generator, turn, source, request)
        summary, usage = written or await asyncio.to_thread(_in_own_words, source), add(usage, used)
    yield summary
    watch.lap("generation_ms")
    yield Outcome(usage=usage, language=request.language)


def _in_own_words(source: str) -> str:
    return "\n".join(central_sentences(source, _MOST_SENTENCES))[:_MOST_CHARACTERS]


def _parts(turns: list[str], room: int) -> Iterator[str]:
    """The turns, in order, in parts of about `room` characters, so that none is left out."""
    part = ""
    for turn in turns:
        if part and len(part) + len(turn) > room:
            yield part
            part = ""
        part = f"{part}\n{turn[:room]}" if part else turn[:room]
    if part:
        yield part
