"""The rolling summary: old turns of a conversation folded into what was remembered of those before them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from engine.generation import Generator
from engine.prompt import as_data, fill
from engine.reading.tasks import central_sentences, supported
from engine.types import ChatRequest, Outcome, Stopwatch

# What stands in for the model's words where they are not supported.
_MOST_SENTENCES = 6
# The source is cut to its newest part, so that it fits beside the instructions: characters a token at least.
_CHARACTERS_A_TOKEN = 2


async def condense(
    generator: Generator, request: ChatRequest, watch: Stopwatch
) -> AsyncGenerator[str | Outcome, None]:
    """Yield a summary of `request.summary` and the turns after it.

    Each sentence must be supported by what was said; where none is, the most central sentences of the
    summary so far and the turns stand in.
    """
    said = "\n".join(f"{turn.role}: {turn.content}" for turn in request.turns)
    source = "\n".join(filter(None, (request.summary, said)))
    room = generator.context_length // 2 * _CHARACTERS_A_TOKEN
    turn = fill("history", request.language, text=as_data(source[-room:]))
    written, usage = await supported(generator, turn, source, request)
    yield written or "\n".join(central_sentences(source, _MOST_SENTENCES))
    watch.lap("generation_ms")
    yield Outcome(usage=usage, language=request.language)
