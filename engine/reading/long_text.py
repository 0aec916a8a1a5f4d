"""A text that a customer sent: its windows, sentences and lines. Knows nothing of questions and models."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.chunker import windows
from engine.library.documents import sentences
from engine.types import Citation

# A sentence is quoted up to this length; what runs on, as in minified data, is cut.
_LONGEST_SENTENCE = 600
# A line this long that is not ended goes on in the next one, where that begins with a small letter.
_WRAPPED_LINE = 40
_CLOSED = re.compile(r"[.!?:;。！？：；|][\"'”’)\]]*$")


class LongText:
    """One text under its name. Offsets count characters, lines count from 1."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    def __len__(self) -> int:
        return len(self.text)

    def windows(self, tokenizer: Any, size: int, overlap: int) -> Iterator[Stretch]:
        """Windows of at most `size` tokens, neighbours sharing about `overlap`, cut as they are asked for."""
        return Stretch(self, 0, len(self.text)).windows(tokenizer, size, overlap)

    def lines(self, start: int, end: int) -> Stretch:
        """`[start, end)` without the part of a line that it begins in, where there is more than that."""
        begins = self.text.find("\n", max(0, start - 1), end) + 1 if start else 0
        return Stretch(self, begins if 0 < begins < min(end, len(self)) else start, min(end, len(self)))

    def line(self, offset: int) -> int:
        """The number of the line that `offset` lies in."""
        return bisect_right(self._line_starts, offset)

    def sentences(self, start: int, end: int) -> list[Stretch]:
        """The sentences that lie in `[start, end)` or reach into it, in order."""
        first, last = max(0, start - _LONGEST_SENTENCE), min(len(self.text), end + _LONGEST_SENTENCE)
        cut = (Stretch(self, first + low, first + high) for low, high in _sentences(self.text[first:last]))
        return [found for found in cut if found.start < end and found.end > start]

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]


@dataclass(frozen=True, slots=True)
class Stretch:
    """`source.text[start:end]`."""

    source: LongText
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def windows(self, tokenizer: Any, size: int, overlap: int) -> Iterator[Stretch]:
        """This stretch in windows, see `LongText.windows`."""
        for found in windows(self.text, tokenizer, size, overlap):
            yield Stretch(self.source, self.start + found.start, self.start + found.end)

    def sentences(self) -> list[Stretch]:
        """The sentences that lie in it or reach into it."""
        return self.source.sentences(self.start, self.end)

    def citation(self, quote: str = "") -> Citation:
        """This stretch as a quotation by line, shown as `quote` where that is given."""
        return Citation(
            document=self.source.name,
            heading="",
            start=self.start,
            end=self.end,
            quote=quote or self.text,
            first_line=self.source.line(self.start),
            last_line=self.source.line(self.end - 1),
        )


def share_of(read: Iterable[Stretch], texts: Sequence[LongText]) -> float:
    """How much of the texts lies in the stretches, in [0, 1]; what overlaps counts once."""
    covered = 0
    reached: dict[int, int] = {}
    for stretch in sorted(read, key=lambda it: it.start):
        behind = max(stretch.start, reached.get(id(stretch.source), 0))
        covered += max(0, stretch.end - behind)
        reached[id(stretch.source)] = max(stretch.end, behind)
    return covered / (sum(map(len, texts)) or 1)


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Offsets of sentences; lines are sentences too, but those that a sentence was wrapped over."""
    held: tuple[int, int] | None = None
    for start, end in sentences(text):
        if held is None:
            held = start, end
        elif _is_wrapped(text, *held, start):
            held = held[0], end
        else:
            yield from _cut(text, *held)
            held = start, end
    if held is not None:
        yield from _cut(text, *held)


def _is_wrapped(text: str, start: int, end: int, following: int) -> bool:
    """Whether `text[start:end]` goes on at `following`, in the next line."""
    line = text[max(start, text.rfind("\n", start, end) + 1) : end]
    return (
        text[end:following].strip(" \t\r") == "\n"
        and text[following].islower()
        and len(line) >= _WRAPPED_LINE
        and following - start < _LONGEST_SENTENCE
        and not _CLOSED.search(line)
    )


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The sentence, or pieces of one that is too long to be quoted, at white space where there is some."""
    while end - start > _LONGEST_SENTENCE:
        border = text.rfind(" ", start + _LONGEST_SENTENCE // 2, start + _LONGEST_SENTENCE)
        border = border if border > 0 else start + _LONGEST_SENTENCE
        yield start, border
        start = border + (text[border] == " ")
    yield start, end
