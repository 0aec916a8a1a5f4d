"""What a model does with a text it is given: summarise it, draft a news item from notes.

Both are held to the text: a sentence that the text does not support is dropped, and where nothing is
left the text's own sentences stand in.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from engine.generation import Generator
from engine.language.languages import detect
from engine.language.phrases import say
from engine.library.documents import sentences
from engine.prompt import as_data, fill
from engine.reading.long_text import LongText, Stretch, share_of
from engine.reading.writing import add, has_time, in_order, sources_of, write
from engine.search.terms import content_terms
from engine.types import ChatRequest, ChatTurn, Outcome, Piece, Progress, Stopwatch, TextFile, Usage, Window

# Windows of a text that are read: of a longer one the most central, spread over the whole.
_MOST_WINDOWS = 24
_MOST_WINDOW_TOKENS = 1024
_OVERLAP_SHARE = 8
_MOST_POINTS = 8
# Points that are made one at a time when there are too many.
_MOST_JOINED = 4
# Characters a token: fewer than usual, to guess how long a window is, and twice what is usual, beyond which
# a text has too many windows without counting.
_SHORT_TOKEN, _LONG_TOKEN = 3, 8
# Places in each part of a long text that are compared.
_MOST_PLACES = 32
# The beginning of a text that tells its language.
_TELLING_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class _Point:
    """One thing that a text says, and where it says it."""

    text: str
    sources: tuple[Stretch, ...]


async def summarise(
    generator: Generator, request: ChatRequest, watch: Stopwatch
) -> AsyncGenerator[Piece, None]:
    """Slide over the request's files, or its message, summarise each window, then the summaries.

    Yields `Progress` while reading, then at most 8 points in the text's order, each with its source, or
    plain sentences for a text of one window. Of a text beyond 24 windows the most central are read, spread
    over the whole, and the reply says how much that was.
    """
    files = request.files or (TextFile(say("your_text", request.language), request.turns[-1].content),)
    request = replace(request, language=_language(request, files))
    texts = [LongText(file.name, file.text) for file in files if file.text.strip()]
    size = min(generator.context_length // 2, _MOST_WINDOW_TOKENS)
    chosen = await asyncio.to_thread(_chosen, texts, generator.tokenizer, size)
    watch.lap("search_ms")
    summary = _Summary(generator, request)
    async with aclosing(summary.run(chosen)) as progress:
        async for step in progress:
            yield step
    points = await summary.conclude()
    watch.lap("generation_ms")
    share = share_of(summary.read, texts)
    told = [point.text for point in points]
    note = share_note("share_summarised", share, request.language)
    yield (told[0] if len(told) == 1 else "\n".join(f"- {text}" for text in told)) + note
    # Lines of what was typed mean nothing to anybody.
    sources = dict.fromkeys(source for point in points for source in point.sources if request.files)
    yield Outcome(
        citations=tuple(source.citation() for source in sources),
        language=request.language,
        usage=summary.usage,
        window=Window(passages=len(summary.read), share_read=share),
    )


def _language(request: ChatRequest, files: Sequence[TextFile]) -> str:
    """The customer's; the text's where they said nothing."""
    said = request.turns[-1].content if request.files else ""
    return detect(said, request.language) or detect(files[0].text[:_TELLING_CHARACTERS])


def _chosen(texts: Sequence[LongText], tokenizer: Any, size: int) -> list[Stretch]:
    """The windows to read, in the texts' order."""
    room = _MOST_WINDOWS * size
    if sum(map(len, texts)) <= room * _LONG_TOKEN:
        ahead = chain.from_iterable(text.windows(tokenizer, size, size // _OVERLAP_SHARE) for text in texts)
        found = list(islice(ahead, _MOST_WINDOWS + 1))
        if len(found) <= _MOST_WINDOWS:
            return found
    whole = sum(map(len, texts))
    counts = [max(1, _MOST_WINDOWS * len(text) // whole) for text in texts]
    places = [
        place for text, count in zip(texts, counts, strict=True) for place in _spread(text, count, size)
    ]
    return [next(place.windows(tokenizer, size, 0)) for place in places]


def _spread(text: LongText, count: int, size: int) -> list[Stretch]:
    """The most central place in each of `count` equal parts of the text."""
    length = size * _SHORT_TOKEN
    step = max(length, len(text) // (count * _MOST_PLACES))
    places = [text.lines(start, start + length) for start in range(0, len(text), step)]
    central = _weights([place.text for place in places])
    parts = [range(len(places) * row // count, len(places) * (row + 1) // count) for row in range(count)]
    return [places[max(part, key=lambda row: central[row])] for part in parts if part]


class _Summary:
    """One summary on its way through the windows."""

    def __init__(self, generator: Generator, request: ChatRequest) -> None:
        self._generator, self._request = generator, request
        self._points: list[_Point] = []
        self.read: list[Stretch] = []
        self.usage = Usage()

    async def run(self, windows: Sequence[Stretch]) -> AsyncGenerator[Progress, None]:
        """Read the windows, as many as there is time for."""
        yield Progress(0, len(windows))
        async with aclosing(in_order(self._window, windows, self._request.deadline)) as made:
            async for window, point in made:
                self.read.append(window)
                self._points.append(point)
                yield Progress(len(self.read), len(windows))
        if not self.read:  # no time at all
            self.read = list(windows)
            self._points = [self._central(window.sentences()) for window in windows]

    async def _window(self, window: Stretch) -> tuple[Stretch, _Point]:
        """What the model says of a window, or the sentence that says most of it."""
        inside = window.sentences()
        sources = sources_of(inside)
        point = await self._joined(window.text, [_Point(source.text, (source,)) for source in sources])
        return window, point or self._central(inside)

    async def _joined(self, text: str, sources: Sequence[_Point]) -> _Point | None:
        """What the model says of a text in short, held to `sources`; None if nothing of it is left."""
        turn = fill("summarise", self._request.language, text=as_data(text))
        written = await write(self._generator, turn, [source.text for source in sources], self._request)
        self.usage = add(self.usage, written.usage)
        if not written.sentences:
            return None
        said = " ".join(_bare(sentence) for sentence, _ in written.sentences)
        return _Point(said, tuple(one for _, row in written.sentences for one in sources[row].sources))

    def _central(self, inside: Sequence[Stretch]) -> _Point:
        best = _most_central([_bare(sentence.text) for sentence in inside])
        return _Point(_bare(inside[best].text), (inside[best],))

    async def conclude(self) -> list[_Point]:
        """At most 8 points: too many are made fewer, in as many rounds as that takes."""
        points = list({point.text: point for point in self._points}.values())
        while len(points) > _MOST_POINTS:
            size = min(_MOST_JOINED, math.ceil(len(points) / _MOST_POINTS))
            groups = [points[start : start + size] for start in range(0, len(points), size)]
            points = [point async for point in in_order(self._fewer, groups)]
        return points

    async def _fewer(self, group: Sequence[_Point]) -> _Point:
        """One point for several."""
        text = "\n".join(point.text for point in group)
        joined = await self._joined(text, group) if has_time(self._request.deadline) else None
        return joined or group[_most_central([point.text for point in group])]


async def draft(generator: Generator, request: ChatRequest, watch: Stopwatch) -> AsyncGenerator[Piece, None]:
    """A headline and a paragraph from notes; where the model adds to them, the notes themselves."""
    notes = request.turns[-1].content
    turn = fill("draft", request.language, notes=as_data(notes))
    text, usage = await supported(generator, turn, notes, request)
    if not text:
        lines = [_bare(notes[start:end]).rstrip(".") for start, end in sentences(notes)]
        headline, *body = [line for line in lines if line] or [notes.strip()]
        text = f"**{headline}**\n\n" + " ".join(
            f"{line[0].upper()}{line[1:]}." for line in body or [headline]
        )
    yield text
    watch.lap("generation_ms")
    yield Outcome(usage=usage)


def share_note(key: str, share: float, language: str) -> str:
    """How much of a text was read, as a paragraph; nothing when it was all of it."""
    if share > 0.995:
        return ""
    percent = f"{100 * share:.0f}" if share >= 0.01 else "<1"
    return "\n\n" + say(key, language, percent=percent)


async def supported(
    generator: Generator, turn: ChatTurn, source: str, request: ChatRequest
) -> tuple[str, Usage]:
    """What the model writes to `turn`, less what `source` does not support."""
    written = await write(generator, turn, [source], request)
    return " ".join(sentence for sentence, _ in written.sentences), written.usage


def _bare(sentence: str) -> str:
    """The sentence without a list item's mark."""
    return sentence.lstrip("-*• ")


def central_sentences(text: str, count: int) -> list[str]:
    """The sentences that share most with the whole text, in its order."""
    cuts = [text[start:end] for start, end in sentences(text)] or [text.strip()]
    cuts = [cut for cut in cuts if not cut.startswith("#")] or cuts  # a heading says nothing by itself
    weights = _weights(cuts)
    best = sorted(range(len(cuts)), key=lambda row: -weights[row])[:count]
    return [cuts[row] for row in sorted(best)]


def _most_central(texts: Sequence[str]) -> int:
    """The row of the text that shares most with all of them; a heading says nothing by itself."""
    weights = _weights(texts)
    return max(range(len(texts)), key=lambda row: (not texts[row].startswith("#"), weights[row]))


def _weights(texts: Iterable[str]) -> list[float]:
    """How much each text shares with all of them (Luhn 1958: frequent words matter)."""
    found = [Counter(content_terms(text)) for text in texts]
    frequency = sum(found, Counter[str]())
    # The root keeps long texts from winning by length alone.
    return [sum(frequency[term] for term in terms) / math.sqrt(terms.total() or 1) for terms in found]
