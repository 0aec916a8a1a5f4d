"""Whether a sentence is supported by passages: what is not supported is never shown.

A lexical check. A sentence is supported by one passage sentence or two neighbours that hold most of its
words, all of its numbers, links and names, and as much negation. It errs on the side of refusing: what
is refused is replaced by a quotation, which is always right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.documents import sentences
from engine.lexical import content_terms

# Share of a sentence's content words that its support must hold.
_COVERAGE = 0.75
# A sentence with fewer content words ("Yes.") says nothing alone, and is shown only before one that does.
_SUBSTANCE = 3
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_LINK = re.compile(r"https?://\S+|\b[\w.+-]+@[\w-]+\.[\w.]+")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][\w-]+")
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|neither|nor|cannot|without|nothing|only|except|unless)\b|n['’]t\b", re.IGNORECASE
)
_ENDED = re.compile(r"[.!?。！？][\"'”’)]*\s|[。！？]|\n")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a stretch of text says, as far as words show it."""

    terms: frozenset[str]
    numbers: frozenset[str]
    names: frozenset[str]
    is_negated: bool

    @classmethod
    def of(cls, text: str) -> _Facts:
        names = (name.rstrip(".,;:").lower() for name in [*_LINK.findall(text), *_NAME.findall(text)])
        return cls(
            frozenset(content_terms(text)),
            frozenset(_NUMBER.findall(text)),
            frozenset(names),
            _NEGATION.search(text) is not None,
        )


class Support:
    """The passages of one answer, ready to check sentences against."""

    def __init__(self, passages: Sequence[str]) -> None:
        self._stretches = [
            (row, _Facts.of(stretch), stretch.lower())
            for row, passage in enumerate(passages)
            for stretch in _stretches(passage)
        ]

    def find(self, sentence: str) -> int | None:
        """Which passage supports the sentence, or None."""
        claim = _Facts.of(sentence)
        if not claim.terms:
            return None
        for row, facts, text in self._stretches:
            covered = len(claim.terms & facts.terms) / len(claim.terms)
            if (
                covered >= _COVERAGE
                and claim.numbers <= facts.numbers
                and all(name in text for name in claim.names)
                and claim.is_negated == facts.is_negated
            ):
                return row
        return None


def has_substance(sentence: str) -> bool:
    """Whether a sentence says something by itself."""
    return len(set(content_terms(sentence))) >= _SUBSTANCE


def _stretches(passage: str) -> Iterator[str]:
    """Each sentence, and each two neighbours: an answer may join what a page says in two."""
    cuts = list(sentences(passage))
    for start, end in cuts:
        yield passage[start:end]
    for (start, _), (_, end) in pairwise(cuts):
        yield passage[start:end]


class SentenceCutter:
    """Cuts a stream into sentences: `feed` pieces, get the finished ones; `close` for the rest."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, chunk: str) -> Iterator[str]:
        """Sentences that are complete now, with the white space behind them."""
        self._held += chunk
        while match := _ENDED.search(self._held):
            sentence, self._held = self._held[: match.end()], self._held[match.end() :]
            yield sentence

    def close(self) -> str:
        """What is left, possibly nothing."""
        rest, self._held = self._held, ""
        return rest
