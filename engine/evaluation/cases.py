"""Asks an index its own questions with something withheld, to see how sure it is when right and when wrong.

Real customers' questions are needed to know what a confidence is worth, and a team has none to begin with.
Its own entries stand in for them. A question that is withheld while its entry stays known by its other
questions and its answer is what a customer asks in words of his own; a question whose whole entry is
withheld is one that the pages do not answer. What another entry that says nearly the same answers is neither
right nor wrong, and is left out. How the kinds of cases are mixed was chosen by how well the threshold
carries over to customers' questions on public sets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from engine.evaluation.calibration import Case
from engine.library.documents import Passage
from engine.search.embedder import Embedder
from engine.search.index import Index

# An index is built for each of so many parts, from which one part is withheld: withholding entry by entry
# would tell about the same and take an index for each.
_PARTS = 10
# An entry known by one question has, once that is withheld, only its answer to be found by. Customers come
# closer than that, and less close than with the very question: the two are mixed, the first by this share.
_WITHHELD_SHARE = 1 / 3
# Two passages say nearly the same when their vectors' cosine is at least this.
_SAME_COSINE = 0.75

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Entry:
    """What questions ask for: a FAQ entry, or what stands below one heading."""

    questions: tuple[str, ...]
    rows: tuple[int, ...]
    """Of its passages."""
    unit: tuple[int, ...]
    """The passages that are withheld together, and of which each counts as found: those of the whole page,
    for its introduction and its other sections tell of this one too."""


def entries(passages: Sequence[Passage]) -> list[Entry]:
    """The entries that can be asked for. A question that belongs to several entries asks for none."""
    rows: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    pages: dict[str, list[int]] = {}
    for row, passage in enumerate(passages):
        pages.setdefault(passage.document, []).append(row)
        if passage.questions:
            rows.setdefault((passage.document, passage.questions), []).append(row)
    owners = Counter(text.casefold() for _, questions in rows for text in dict.fromkeys(questions))
    found = []
    for (document, questions), own in rows.items():
        # Where one page holds much of what is known, its sections are entries of their own.
        is_small = len(pages[document]) * _PARTS <= len(passages)
        texts = [text for text in dict.fromkeys(questions) if owners[text.casefold()] == 1]
        if texts:
            unit = pages[document] if is_small else own
            found.append(Entry(tuple(texts[:_PARTS]), tuple(own), tuple(unit)))
    return found


def as_typed(question: str) -> str:
    """The question as somebody in a hurry types it: small letters, no full stop, two letters swapped."""
    text = question.lower().rstrip("?？.。!！ ")
    longest = max(_WORD.finditer(text), key=lambda word: len(word[0]), default=None)
    if longest is None or len(longest[0]) < 4:
        return text or question
    middle = longest.start() + len(longest[0]) // 2
    return text[: middle - 1] + text[middle] + text[middle - 1] + text[middle + 1 :]


class Cases:
    """The cases of one version of the knowledge base."""

    def __init__(
        self, passages: Sequence[Passage], embedder: Embedder | None, *, unknown: float = 0.3
    ) -> None:
        """Parameters
        embedder: gives every text's vector, best from memory: each text is asked for several times
        unknown: which share of customers' questions the pages do not answer
        """
        self.entries = entries(passages)
        self._passages, self._embedder = passages, embedder
        self._known, self._unknown = 1 - unknown, unknown
        self._row_of = {_place(passage): row for row, passage in enumerate(passages)}

    def questions(self) -> list[str]:
        """All that is asked."""
        asked = [text for entry in self.entries for text in entry.questions]
        asked += [as_typed(entry.questions[0]) for entry in self.entries if len(entry.questions) == 1]
        return list(dict.fromkeys(asked))

    def texts(self) -> list[str]:
        """Every text of which a vector is needed, questions and passages."""
        lacking = [
            _without(self._passages[row], question)
            for entry in self.entries
            for question in entry.questions
            for row in entry.rows
        ]
        embedded, _ = Index(0, [*self._passages, *lacking], None).embedded_texts()
        return list(dict.fromkeys([*self.questions(), *embedded]))

    def ask(self, on_progress: Callable[[int, int], None] = lambda done, total: None) -> list[Case]:
        """Ask every case. `on_progress` hears how many parts of how many are done."""
        cases: list[Case] = []
        steps = 2 * _PARTS + 1
        for part in range(_PARTS):
            cases += self._known_cases(part)
            on_progress(2 * part + 1, steps)
            cases += self._unknown_cases(part)
            on_progress(2 * part + 2, steps)
        cases += self._misspelt_cases()
        on_progress(steps, steps)
        return cases

    def _known_cases(self, part: int) -> Iterator[Case]:
        """Questions withheld from entries that are there."""
        index = self._index(self._without_questions(part))
        for number, entry in enumerate(self.entries):
            for place in _places(entry, number, part):
                weight = 1 / len(entry.questions) if len(entry.questions) > 1 else _WITHHELD_SHARE
                yield from self._case(index, entry.questions[place], entry, self._known * weight)

    def _misspelt_cases(self) -> Iterator[Case]:
        """Questions as somebody types them, of entries known by one question alone."""
        index = self._index(self._passages)
        for entry in self.entries:
            if len(entry.questions) == 1:
                weight = self._known * (1 - _WITHHELD_SHARE)
                yield from self._case(index, as_typed(entry.questions[0]), entry, weight)

    def _unknown_cases(self, part: int) -> Iterator[Case]:
        """Questions of entries that are not there."""
        withheld = set(list(dict.fromkeys(entry.unit for entry in self.entries))[part::_PARTS])
        gone = {row for unit in withheld for row in unit}
        index = self._index([passage for row, passage in enumerate(self._passages) if row not in gone])
        for entry in self.entries:
            if entry.unit in withheld:
                weight = self._unknown / len(entry.questions)
                for question in entry.questions:
                    yield from self._case(index, question, entry, weight, is_known=False)

    def _case(
        self, index: Index, question: str, entry: Entry, weight: float, *, is_known: bool = True
    ) -> Iterator[Case]:
        """The case, or none when what was found says nearly the same as the entry."""
        found = index.search(question)
        if not found.hits:
            yield Case(question, 0.0, is_known, False, weight)
            return
        best = found.hits[0].passage
        row = self._row_of[_place(best)]
        is_right = is_known and row in entry.unit
        if is_right or not self._is_same(row, entry):
            heading = best.heading or best.document
            yield Case(question, found.confidence, is_known, is_right, weight, heading)

    def _is_same(self, row: int, entry: Entry) -> bool:
        own = self._passages[row]
        others = [self._passages[other] for other in entry.rows]
        if any(own.text.casefold() == other.text.casefold() for other in others):
            return True
        if self._embedder is None:
            return False
        vectors = self._embedder.embed([_whole(own), *map(_whole, others)])
        return float((vectors[1:] @ vectors[0]).max()) >= _SAME_COSINE

    def _without_questions(self, part: int) -> list[Passage]:
        """The passages, each entry lacking the question that this part withholds from it, if any."""
        passages = list(self._passages)
        for number, entry in enumerate(self.entries):
            for place in _places(entry, number, part):
                for row in entry.rows:
                    passages[row] = _without(passages[row], entry.questions[place])
        return passages

    def _index(self, passages: Sequence[Passage]) -> Index:
        index = Index(0, passages, self._embedder)
        if self._embedder is not None:
            texts, owners = index.embedded_texts()
            index.add_vectors(self._embedder.embed(texts), owners)
        return index


def _places(entry: Entry, number: int, part: int) -> Iterator[int]:
    """The places among an entry's questions of the one that a part withholds: one or none."""
    place = (part - number) % _PARTS
    if place < len(entry.questions):
        yield place


def _without(passage: Passage, question: str) -> Passage:
    """The passage as if this question had not been written down, in its heading neither."""
    heading = passage.heading.removesuffix(question).rstrip(" ›")
    return replace(
        passage, heading=heading, questions=tuple(text for text in passage.questions if text != question)
    )


def _place(passage: Passage) -> tuple[str, int]:
    return passage.document, passage.start


def _whole(passage: Passage) -> str:
    """Heading and text, as the index embeds them."""
    return f"{passage.heading}\n{passage.text}"
