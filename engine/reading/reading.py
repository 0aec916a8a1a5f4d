"""Answering from a text that the customer sent: choose windows, read them, and say what they say.

What the model writes of a window is held to that window, and what it makes of all of them to what they
said. Where nothing of it is left the text's own best sentences are the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from engine.generation import Generator
from engine.language.languages import detect
from engine.language.phrases import say
from engine.prompt import as_data, fill
from engine.reading.evidence import WINDOW_TOKENS, Evidence, fits_of, gather
from engine.reading.long_text import Stretch, share_of
from engine.reading.pasted import split_pasted, wants_summary
from engine.reading.tasks import share_note, summarise
from engine.reading.writing import add, has_time, in_order, sources_of, write
from engine.search.embedder import Embedder
from engine.types import ChatRequest, ChatTurn, Outcome, Piece, Progress, Stopwatch, TextFile, Usage, Window

# What the model writes of a window must fit the question about as well as the best sentence to quote.
_AS_FIT = 0.8
# Of the best sentence's fit: what else is quoted.
_ALSO_QUOTED = 0.9
_MOST_QUOTED = 3
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class _Point:
    """Something to tell, and where the text says it."""

    text: str
    source: Stretch


def concerned(request: ChatRequest) -> ChatRequest | None:
    """The request as one about a text that came with it, a file or a pasted text; None for any other.

    The message becomes the question alone, and `files` the texts that it is about.
    """
    message = request.turns[-1].content
    new = tuple(file for file in request.files if file.is_new)
    if new:
        return replace(request, files=new)
    if (pasted := split_pasted(message)) is None:
        return None
    question, text = pasted
    turns = (*request.turns[:-1], ChatTurn("user", question))
    return replace(request, turns=turns, files=(TextFile(say("your_text", request.language), text),))


async def best_fit(request: ChatRequest, generator: Generator, embedder: Embedder | None = None) -> Evidence:
    """Look for the question in the request's files: `fit` says how well their best sentence fits.

    Compare it with `fits_of` the sentences of the knowledge base's best passage: it is the same measure.
    Hand it to `read`, which would look again otherwise.
    """
    window = min(WINDOW_TOKENS, generator.context_length // 4)
    return await gather(
        request.turns[-1].content, request.files, generator.tokenizer, embedder, window=window
    )


async def read(
    generator: Generator,
    request: ChatRequest,
    watch: Stopwatch,
    embedder: Embedder | None = None,
    *,
    evidence: Evidence | None = None,
) -> AsyncGenerator[Piece, None]:
    """Answer the request's message from its files, or summarise them where it asks nothing else.

    Yields `Progress` while reading, then the text, then the `Outcome`. Closing it cancels everything that
    is being generated. Near the request's deadline it tells what it found so far.

    Parameters
      request: see `concerned`; all of its files are read
      evidence: what `best_fit` found for it
    """
    if evidence is None and wants_summary(request.turns[-1].content):
        async with aclosing(summarise(generator, request, watch)) as pieces:
            async for piece in pieces:
                yield piece
        return
    request = replace(request, language=detect(request.turns[-1].content, request.language))
    reading = _Reading(generator, request, embedder)
    if evidence is None:
        yield Progress(0, 0)
        evidence = await best_fit(request, generator, embedder)
    watch.lap("search_ms")
    if not evidence.answers:
        yield say("nothing_in_text", request.language)
        yield Outcome(decision="hand_over", confidence=evidence.fit, language=request.language)
        return
    async with aclosing(reading.run(evidence)) as progress:
        async for step in progress:
            yield step
    points = await reading.conclude(evidence)
    watch.lap("generation_ms")
    share = share_of(reading.read, evidence.texts)
    yield "\n".join(point.text for point in points) + share_note("share_read", share, request.language)
    sources = dict.fromkeys(point.source for point in points)
    yield Outcome(
        confidence=evidence.fit,
        citations=tuple(source.citation() for source in sources),
        language=request.language,
        usage=reading.usage,
        window=Window(passages=len(reading.read), share_read=share),
    )


class _Reading:
    """One question on its way through the windows."""

    def __init__(self, generator: Generator, request: ChatRequest, embedder: Embedder | None) -> None:
        self._generator, self._request, self._embedder = generator, request, embedder
        self._question = request.turns[-1].content
        self._points: list[_Point] = []
        self.read: list[Stretch] = []
        self.usage = Usage()

    async def run(self, evidence: Evidence) -> AsyncGenerator[Progress, None]:
        """Read the chosen windows, best first, as many as there is time for."""
        total = len(evidence.windows)
        yield Progress(0, total)
        async with aclosing(in_order(self._window, evidence.windows, self._request.deadline)) as read:
            async for window, points, usage in read:
                self.read.append(window)
                self._points += points
                self.usage = add(self.usage, usage)
                yield Progress(len(self.read), total)

    async def _window(self, window: Stretch) -> tuple[Stretch, list[_Point], Usage]:
        """What the model says of one window, each sentence held to it."""
        sources = sources_of(window.sentences())
        turn = fill(
            "read_map",
            self._request.language,
            text=as_data(window.text),
            message=as_data(self._question),
        )
        written = await write(self._generator, turn, [source.text for source in sources], self._request)
        return window, [_Point(text, sources[row]) for text, row in written.sentences], written.usage

    async def conclude(self, evidence: Evidence) -> list[_Point]:
        """The answer, from what the windows said or in the text's own words, in the text's order."""
        if not self.read:  # no time at all
            self.read = [sentence for sentence, _ in evidence.sentences[:_MOST_QUOTED]]
        points = await asyncio.to_thread(self._fitting, evidence)
        if len(points) > 2 and has_time(self._request.deadline):
            points = await self._reduced(points) or points
        return sorted(points[:_MOST_TOLD] or self._quoted(evidence), key=_place)

    def _fitting(self, evidence: Evidence) -> list[_Point]:
        """The points that answer the question, not only a part of the text, best first."""
        if not self._points:
            return []
        best = evidence.sentences[0][0]
        said = [*(point.text for point in self._points), best.text]
        *fits, bar = fits_of(self._question, said, self._embedder)
        rows = sorted(range(len(fits)), key=lambda row: -fits[row])
        unique = {self._points[row].text: self._points[row] for row in rows if fits[row] >= _AS_FIT * bar}
        return list(unique.values())

    async def _reduced(self, points: Sequence[_Point]) -> list[_Point]:
        """One short answer from many points."""
        notes = "\n".join(
            f"- {as_data(point.text)}" for point in sorted(points[: _MOST_TOLD * 2], key=_place)
        )
        turn = fill("read_reduce", self._request.language, notes=notes, message=as_data(self._question))
        written = await write(self._generator, turn, [point.text for point in points], self._request)
        self.usage = add(self.usage, written.usage)
        return [_Point(text, points[row].source) for text, row in written.sentences]

    def _quoted(self, evidence: Evidence) -> list[_Point]:
        """The sentences that fit best."""
        least = _ALSO_QUOTED * evidence.fit
        best = [sentence for sentence, fit in evidence.sentences[:_MOST_QUOTED] if fit >= least]
        return [_Point(sentence.text, sentence) for sentence in best]


def _place(point: _Point) -> tuple[str, int]:
    return point.source.source.name, point.source.start
