"""The stretches of passages that a claim may rest on: a sentence, two neighbours, or a list."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nlargest

from engine.support.cutter import sentence_spans
from engine.support.lexicon import lexicon
from engine.support.statement import Statement, joined, read

# Sentences that are looked at for one claim, and stretches made of them.
_MOST_SENTENCES = 6
_MOST_IN_A_LIST = 8
_ASKED = re.compile(r"[?？][\"'”’)*_]*$")
# Characters of a sentence: what is longer is a table or a list of words, and only copies of it count.
MOST_READ = 2000


@dataclass(frozen=True)
class Sentence:
    """A sentence of a passage, at `passage[start:end]`."""

    row: int
    start: int
    end: int
    text: str = field(repr=False)

    @cached_property
    def statement(self) -> Statement:
        return read(self.text[:MOST_READ])

    @property
    def is_item(self) -> bool:
        return self.text[0] in "-*•+"

    @property
    def is_statement(self) -> bool:
        """A heading or a question says nothing that could support anything."""
        return self.text[0] != "#" and not _ASKED.search(self.text)


@dataclass(frozen=True)
class Ground:
    """One sentence, or several of a passage that say something together, in order."""

    sentences: tuple[Sentence, ...]

    @property
    def row(self) -> int:
        return self.sentences[0].row

    @cached_property
    def statement(self) -> Statement:
        return joined([sentence.statement for sentence in self.sentences])


class Grounds:
    """All sentences of the passages, found by the words that they share with a claim."""

    def __init__(self, passages: Sequence[str]) -> None:
        self._passages = [
            [Sentence(row, start, end, text[start:end]) for start, end in sentence_spans(text)]
            for row, text in enumerate(passages)
        ]
        self._places = [(row, place) for row, all_ in enumerate(self._passages) for place in range(len(all_))]

    @cached_property
    def _by_key(self) -> Mapping[str | int, list[int]]:
        found = defaultdict[str | int, list[int]](list)
        for number, (row, place) in enumerate(self._places):
            for key in _keys(self._passages[row][place].statement):
                found[key].append(number)
        return found

    @cached_property
    def _roots(self) -> list[frozenset[str]]:
        nothing = frozenset[str]()
        return [
            nothing.union(*(sentence.statement.roots for sentence in sentences))
            for sentences in self._passages
        ]

    @property
    def sentences(self) -> Iterator[Sentence]:
        for row in self._passages:
            yield from row

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of every root, of all passages."""
        return frozenset(word for roots in self._roots for found in roots for word in found.split())

    def roots(self, row: int) -> frozenset[str]:
        """Every root of one passage."""
        return self._roots[row]

    def of(self, claim: Statement) -> list[Ground]:
        """The stretches that share most with the claim."""
        shared = defaultdict[int, float](float)
        for key in _keys(claim):
            found = self._by_key.get(key, ())
            weight = math.log(1 + len(self._places) / (len(found) or 1)) * (
                1.0 if isinstance(key, str) else 0.5
            )
            for number in found:
                shared[number] += weight
        best = [self._places[number] for number in nlargest(_MOST_SENTENCES, shared, key=shared.__getitem__)]
        grounds = dict.fromkeys(ground for row, place in best for ground in self._around(row, place))
        return [ground for ground in grounds if any(one.is_statement for one in ground.sentences)]

    def _around(self, row: int, place: int) -> Iterator[Ground]:
        sentences = self._passages[row]
        here = sentences[place]
        yield Ground((here,))
        if place:
            yield Ground((sentences[place - 1], here))
        if place + 1 < len(sentences):
            yield Ground((here, sentences[place + 1]))
        if here.is_item:
            first = next((n for n in range(place, -1, -1) if not sentences[n].is_item), 0)
            last = next((n for n in range(place, len(sentences)) if not sentences[n].is_item), len(sentences))
            yield Ground((sentences[first], here))
            yield Ground(tuple(sentences[first : min(last, first + _MOST_IN_A_LIST)]))


def _keys(statement: Statement) -> set[str | int]:
    """By what a sentence is found: its roots and their groups."""
    groups = lexicon().groups
    return {key for content in statement.contents for key in (content.root, *groups.get(content.root, ()))}
