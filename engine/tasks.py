"""What a model does with a text it is given: summarise it in segments, draft a news item from notes.

Both are held to the text: a sentence that the text does not support is dropped, and where nothing is
left the text's own sentences stand in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

from engine.chunker import windows
from engine.documents import sentences
from engine.generation import Ended, Generator
from engine.lexical import content_terms
from engine.support import SentenceCutter, Support, has_substance
from engine.types import ChatRequest, ChatTurn, Outcome, Sampling, Stopwatch, Usage

_SUMMARISE = "Summarise the following text in one or two sentences.\n\n{text}"
_DRAFT = "Write a short news item from these notes: a headline, then one paragraph. Add no facts.\n\n{text}"
# A summary may not grow with the text for ever: this many segments are told one by one, then reduced.
_MOST_POINTS = 8
_OVERLAP_SHARE = 8


async def summarise(
    generator: Generator, request: ChatRequest, watch: Stopwatch
) -> AsyncGenerator[str | Outcome, None]:
    """Slide over the text, summarise each window, and yield one point a window as it is ready."""
    text = request.turns[-1].content
    room = generator.context_length // 2
    usage, points = Usage(), list[str]()
    for window in windows(text, generator.tokenizer, room, room // _OVERLAP_SHARE):
        segment = text[window.start : window.end]
        point, used = await _supported(generator, _SUMMARISE.format(text=segment), segment, request)
        usage = Usage(
            usage.prompt_tokens + used.prompt_tokens, usage.completion_tokens + used.completion_tokens
        )
        points.append(point or central_sentences(segment, 1)[0].lstrip("-*• "))
    points = list(dict.fromkeys(points))
    if len(points) > _MOST_POINTS:
        points = central_sentences("\n".join(points), _MOST_POINTS)
    yield "\n".join(f"- {point}" for point in points) if len(points) > 1 else points[0]
    watch.lap("generation_ms")
    yield Outcome(usage=usage)


async def draft(
    generator: Generator, request: ChatRequest, watch: Stopwatch
) -> AsyncGenerator[str | Outcome, None]:
    """A headline and a paragraph from notes; where the model adds to them, the notes themselves."""
    notes = request.turns[-1].content
    written, usage = await _supported(generator, _DRAFT.format(text=notes), notes, request)
    if not written:
        lines = [notes[start:end].lstrip("-*• ").rstrip(".") for start, end in sentences(notes)]
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
    async with aclosing(generator.generate(turns, sampling, request.deadline)) as pieces:
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
