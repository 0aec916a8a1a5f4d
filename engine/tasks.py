"""What a model does with a text it is given: summarise it in segments, draft a news item from notes.

Both are held to the text: a sentence that the text does not support is dropped, and where nothing is
left the text's own sentences stand in.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from itertools import islice
from typing import Any

from engine.chunker import windows
from engine.documents import sentences
from engine.generation import Ended, Generator
from engine.lexical import content_terms
from engine.support import SentenceCutter, Support, has_substance
from engine.types import ChatRequest, ChatTurn, Outcome, Sampling, Stopwatch, Usage

_SUMMARISE = "Summarise the following text in one or two sentences.\n\n{text}"
_DRAFT = "Write a short news item from these notes: a headline, then one paragraph. Add no facts.\n\n{text}"
# Windows of one text that the model summarises at once: the batch takes them together.
_AT_ONCE = 4
# A text of more windows is told in this many of its own sentences: the model would take minutes.
_MOST_WINDOWS = 24
_MOST_POINTS = 8
_OVERLAP_SHARE = 8
# Characters a token, twice what is usual: a longer text has too many windows without counting.
_LONG_TOKEN = 8


async def summarise(
    generator: Generator, request: ChatRequest, watch: Stopwatch
) -> AsyncGenerator[str | Outcome, None]:
    """Slide over the text, summarise each window, and yield one point a window as it is ready, in order.

    A text of one window becomes plain text, a longer one a list. Beyond 24 windows the model is not asked:
    the text's own most central sentences are the summary.
    """
    text = request.turns[-1].content
    room = generator.context_length // 2
    usage, told = Usage(), set[str]()
    cut = await asyncio.to_thread(_segments, text, generator.tokenizer, room)
    async with aclosing(_points(generator, cut, request)) as points:
        async for point, used in points:
            usage = Usage(
                usage.prompt_tokens + used.prompt_tokens, usage.completion_tokens + used.completion_tokens
            )
            if point not in told:
                yield point if len(cut) == 1 else f"- {point}" if not told else f"\n- {point}"
                told.add(point)
    if not cut:
        central = await asyncio.to_thread(central_sentences, text, _MOST_POINTS)
        yield "\n".join(f"- {_bare(point)}" for point in central)
    watch.lap("generation_ms")
    yield Outcome(usage=usage)


def _segments(text: str, tokenizer: Any, room: int) -> list[str]:
    """The text in windows of `room` tokens; none when they would be too many."""
    if len(text) > _MOST_WINDOWS * room * _LONG_TOKEN:
        return []
    found = list(islice(windows(text, tokenizer, room, room // _OVERLAP_SHARE), _MOST_WINDOWS + 1))
    return [text[window.start : window.end] for window in found] if len(found) <= _MOST_WINDOWS else []


async def _points(
    generator: Generator, segments: Iterable[str], request: ChatRequest
) -> AsyncGenerator[tuple[str, Usage], None]:
    """What the model says of each segment, in their order, a few worked on at a time."""

    async def point(segment: str) -> tuple[str, Usage]:
        written, used = await _supported(generator, _SUMMARISE.format(text=segment), segment, request)
        return written or _bare(central_sentences(segment, 1)[0]), used

    ahead = iter(segments)
    working = deque(asyncio.create_task(point(segment)) for segment in islice(ahead, _AT_ONCE))
    try:
        while working:
            made = await working[0]
            working.popleft()
            working.extend(asyncio.create_task(point(segment)) for segment in islice(ahead, 1))
            yield made
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def _bare(sentence: str) -> str:
    """The sentence without a list item's mark."""
    return sentence.lstrip("-*• ")


async def draft(
    generator: Generator, request: ChatRequest, watch: Stopwatch
) -> AsyncGenerator[str | Outcome, None]:
    """A headline and a paragraph from notes; where the model adds to them, the notes themselves."""
    notes = request.turns[-1].content
    written, usage = await _supported(generator, _DRAFT.format(text=notes), notes, request)
    if not written:
        lines = [_bare(notes[start:end]).rstrip(".") for start, end in sentences(notes)]
        headline, *body = [line for line in lines if line] or [notes.strip()]
        written = f"**{headline}**\n\n" + " ".join(
            f"{line[0].upper()}{line[1:]}." for line in body or [headline]
        )
    yield written
    watch.lap("generation_ms")
    yield Outcome(usage=usage)


async def _supported(
    generator: Generator, prompt: str, source: str, request: ChatRequest
) -> tuple[str, Usage]:
    """What the model writes, less what `source` does not support."""
    turns = [ChatTurn("user", prompt)]
    room = generator.context_length - generator.count(turns)
    if room < 16:  # the template took what was left: the text's own sentences must do
        return "", Usage()
    sampling = Sampling(max_tokens=min(room, 160), seed=request.sampling.seed)
    support, cutter, usage, written = Support([source]), SentenceCutter(), Usage(), list[str]()
    async with aclosing(
        generator.generate(turns, sampling, request.deadline, request.conversation)
    ) as pieces:
        async for item in pieces:
            if isinstance(item, Ended):
                usage = item.usage
                written.append(cutter.close() if item.finish_reason == "stop" else "")
            else:
                written.extend(cutter.feed(item))
    kept = list(dict.fromkeys(s.strip() for s in written if support.find(s) is not None and has_substance(s)))
    return " ".join(kept), usage


def central_sentences(text: str, count: int) -> list[str]:
    """The sentences that share most with the whole text, in its order (Luhn 1958: frequent words matter)."""
    cuts = [text[start:end] for start, end in sentences(text)] or [text.strip()]
    cuts = [cut for cut in cuts if not cut.startswith("#")] or cuts  # a heading says nothing by itself
    frequency = Counter(content_terms(text))

    def weight(sentence: str) -> float:
        found = content_terms(sentence)
        # The root keeps long sentences from winning by length alone.
        return sum(frequency[term] for term in set(found)) / math.sqrt(len(found) or 1)

    best = sorted(range(len(cuts)), key=lambda row: -weight(cuts[row]))[:count]
    return [cuts[row] for row in sorted(best)]
