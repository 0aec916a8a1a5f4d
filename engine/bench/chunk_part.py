"""The chunker benchmark: how fast texts are cut into windows, and whether the windows keep their promises."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from engine.bench.chunk_peers import (
    NAMES,
    TIKTOKEN,
    TOKENIZERS,
    Budget,
    Chunk,
    Chunker,
    encoders,
    make,
    package_of,
)
from engine.bench.contestant import CannotRun
from engine.bench.figures import skipped
from engine.bench.row import Row

PART = "chunker"
PAGES, TEXT, VOCABULARY = "pages", "text", "vocabulary"
SPEED, OVER_TOKENIZERS, OVER_TIKTOKEN = "speed", "speed_over_tokenizers", "speed_over_tiktoken"
CHUNKS, OVER, LARGEST = "chunks", "over_budget", "largest"
WRONG, LOST = "wrong_offsets", "lost_characters"
_MEGABYTE = 1e6
_WARM_UP = "One sentence. And another.\n"


def measure(pages: Sequence[str], budget: Budget, repeats: int, say: Callable[[str], None]) -> list[Row]:
    """Every figure, as rows. One thread; processor time, which other guests of the machine change least.

    Parameters
      repeats: of which the medians are taken
    """
    able, rows = _able(budget)
    megabytes = sum(len(page.encode()) for page in pages) / _MEGABYTE
    rows += [
        Row(PAGES, len(pages), "", PART),
        Row(TEXT, megabytes, "MB", PART),
        Row(VOCABULARY, budget.tokenizer.get_vocab_size(), "tokens", PART),
    ]
    speeds: dict[str, list[float]] = {}
    for repeat in range(repeats):  # each in turn, then all again, so that noise hits all alike
        contestants = {**encoders(budget), **{name: make(name, budget) for name in able}}
        for name, chunk in contestants.items():
            speed = megabytes / _seconds(chunk, pages)
            speeds.setdefault(name, []).append(speed)
            say(f"  repeat {repeat + 1}  {name}  {speed:.2f} MB/s")
    for name, each in speeds.items():
        rows += _speed(name, each, speeds)
    for name in able:
        say(f"  checking  {name}")
        rows += _promises(name, make(name, budget), pages, budget)
    return rows


def _able(budget: Budget) -> tuple[list[str], list[Row]]:
    """Who can take part, and rows of the others with their reasons."""
    able, rows = list[str](), list[Row]()
    for name in NAMES:
        try:
            make(name, budget)(_WARM_UP)  # what is loaded at the first use shall not count
        except CannotRun as reason:
            rows.append(skipped("", name, PART, str(reason)))
        else:
            able.append(name)
    return able, rows


def _seconds(chunk: Callable[[str], object], pages: Sequence[str]) -> float:
    gc.collect()
    begun = time.process_time()
    for page in pages:
        chunk(page)
    return time.process_time() - begun


def _speed(name: str, own: Sequence[float], speeds: Mapping[str, Sequence[float]]) -> list[Row]:
    """The speed, and its share of the speed of encoding alone: the median over the repeats."""
    rows = [_row(name, SPEED, median(own), "MB/s", own)]
    for metric, encoder in ((OVER_TOKENIZERS, TOKENIZERS), (OVER_TIKTOKEN, TIKTOKEN)):
        if encoder in speeds and name not in (TOKENIZERS, TIKTOKEN):
            shares = [mine / theirs for mine, theirs in zip(own, speeds[encoder], strict=True)]
            rows.append(_row(name, metric, median(shares), "times", shares))
    return rows


@dataclass(slots=True)
class _Faults:
    """What was found in the chunks of all pages."""

    chunks: int = 0
    over: int = 0
    largest: int = 0
    wrong: int = 0
    lost: int = 0

    def look(self, page: str, chunks: Sequence[Chunk], budget: Budget) -> None:
        """Add the chunks of one page."""
        covered, searched = bytearray(len(page)), 0
        for chunk in chunks:
            tokens = budget.count(chunk.text)
            self.over += tokens > budget.size
            self.largest = max(self.largest, tokens)
            start = chunk.start
            if start is None or start < 0 or not page.startswith(chunk.text, start):
                self.wrong += 1
                start = page.find(chunk.text, searched)
            if start >= 0:
                covered[start : start + len(chunk.text)] = b"\1" * len(chunk.text)
                searched = start
        self.chunks += len(chunks)
        self.lost += sum(not (seen or sign.isspace()) for seen, sign in zip(covered, page, strict=True))


def _promises(name: str, chunk: Chunker, pages: Sequence[str], budget: Budget) -> list[Row]:
    """What holds and what does not: pages that are there several times are looked at once."""
    faults = _Faults()
    for page in dict.fromkeys(pages):
        faults.look(page, chunk(page), budget)
    return [
        _row(name, CHUNKS, faults.chunks, ""),
        _row(name, OVER, faults.over, "chunks"),
        _row(name, LARGEST, faults.largest, "tokens"),
        _row(name, WRONG, faults.wrong, "chunks"),
        _row(name, LOST, faults.lost, "characters"),
    ]


def _row(name: str, metric: str, value: float, unit: str, values: Sequence[float] = ()) -> Row:
    extras = (("package", package_of(name)),)
    return Row(metric, value, unit, PART, contestant=name, values=tuple(values), extras=extras)
