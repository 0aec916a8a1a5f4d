"""The index: search over one version of the documents, in memory. Knows no Redis."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.filter import find, normalise
from engine.library.documents import Passage, is_visible
from engine.search.confidence import confidence
from engine.search.embedder import Embedder
from engine.search.meaning import Meaning
from engine.search.mentions import Mentions
from engine.search.ranked import Ranked
from engine.search.terms import content_terms
from engine.search.words import Words
from engine.types import ChatTurn, Citation

# What a title that was mentioned in the conversation adds to the score of its page's passages.
_OF_MENTION = 0.3
# In how many earlier turns titles are looked for, and how many are read together with the question.
_TURNS_MENTIONING, _TURNS_READ = 5, 2
# An answer of which the pages have this share repeats them: it would only find itself again.
_REPEATS = 0.7
# How much of the confidence that earlier turns add counts, by how many words the question has that count:
# a question that can stand alone is not answered by what was spoken of before.
_OF_ADDED = (1.0, 1.0, 0.8, 0.5, 0.25, 0.15)
# A best hit that leads the next by this much needs no conversation to be understood.
_CLEAR_LEAD = 0.2

# What the filter writes for a value that was taken out: no word that any page has.
_PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]*_\d+>")


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage and how well it fits: `score` in [0, 1]."""

    passage: Passage
    score: float

    def citation(self, start: int = 0, end: int | None = None) -> Citation:
        """The passage's `text[start:end]` as a quotation, by default all of it."""
        passage = self.passage
        quote = passage.text[start:end]
        first = passage.start + start
        return Citation(passage.document, passage.heading, first, first + len(quote), quote)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: hits best first, and in [0, 1] how sure it is that the first answers."""

    hits: tuple[Hit, ...]
    confidence: float


class Index:
    """Search over one version of the documents. Built once, never changed but by `add_vectors`."""

    def __init__(self, version: int, found: Sequence[Passage], embedder: Embedder | None) -> None:
        self.version, self.passages = version, found
        self._embedder = embedder
        self._words = Words(found)
        self._mentions = Mentions([_title(passage) for passage in found])
        self._meaning: Meaning | None = None
        self._sections = [(passage.document, passage.heading) for passage in found]
        self._is_scoped = any(passage.scope for passage in found)
        self.contacts = frozenset(
            normalise(finding.entity, passage.text[finding.start : finding.end])
            for passage in found
            for finding in find(passage.text)
        )
        """The team's own addresses and numbers, which the filter lets through on the way out."""

    def embedded_texts(self) -> tuple[list[str], NDArray[np.int64]]:
        """Every text worth a vector, and the row of its passage: its questions, and its body."""
        texts, owners = [], []
        for row, passage in enumerate(self.passages):
            for text in (*passage.questions, f"{passage.heading}\n{passage.text}".lstrip("\n")):
                texts.append(text)
                owners.append(row)
        return texts, np.array(owners, dtype=np.int64)

    def add_vectors(self, vectors: NDArray[np.float32], owners: NDArray[np.int64]) -> None:
        """Vectors of `embedded_texts`, in that order. Until they are added the words decide alone."""
        if self._embedder is not None and len(vectors):
            self._meaning = Meaning(self.passages, vectors, owners, self._embedder)

    def search(
        self,
        question: str,
        earlier: Sequence[ChatTurn] = (),
        *,
        scope: str = "",
        without: Collection[str] = (),
        limit: int = 3,
    ) -> Found:
        """The passages that fit best, best first. Scores and confidence are comparable between questions.

        The question is searched alone first. The less clearly that finds one passage, the more the
        conversation counts: what was said last, and which pages were spoken of.

        Parameters
          earlier: the turns before the question, oldest first
          scope: the conversation's name; documents scoped to another place are not seen
          without: ids of documents that are left out, as if they had never been learned
        """
        seen = self._seen(scope, without)
        if not seen.any():
            return Found((), 0.0)
        question = _PLACEHOLDER.sub(" ", question)
        ranked = self._rank(question, seen)
        sure = self._confidence(ranked)
        if said := self._said(earlier):
            ranked = self._rank(question, seen, said, 1 - self._is_clear(ranked))
            sure = min(self._confidence(ranked), sure + self._added(question, ranked, sure))
        hits = tuple(
            Hit(self.passages[row], min(1.0, max(0.0, score)))
            for row, score in zip(ranked.rows[:limit], ranked.scores[:limit], strict=True)
        )
        return Found(hits, sure)

    def _said(self, earlier: Sequence[ChatTurn]) -> list[str]:
        """What was said before, newest first, but for answers that repeat the pages."""
        newest = [turn for turn in reversed(earlier) if turn.role != "system"][:_TURNS_MENTIONING]
        return [
            turn.content
            for turn in newest
            if turn.role == "user" or self._words.covered(turn.content) < _REPEATS
        ]

    def _added(self, question: str, ranked: Ranked, alone: float) -> float:
        """What the earlier turns add to the confidence in the question alone."""
        terms = len(set(content_terms(question)))
        return max(0.0, self._confidence(ranked) - alone) * _OF_ADDED[min(terms, len(_OF_ADDED) - 1)]

    def _rank(
        self, question: str, seen: NDArray[np.bool_], said: Sequence[str] = (), need: float = 0.0
    ) -> Ranked:
        """The best passages, more than anybody asks for.

        Parameters
          said: the earlier turns, newest first
          need: in [0, 1], how much these count
        """
        bonus = np.zeros(len(seen))
        if said:
            mentioned = self._mentions.search([question, *said[:_TURNS_MENTIONING]])
            bonus = _OF_MENTION * need * mentioned
        if self._meaning is None or not self._meaning.can_read(question):
            return self._words.rank(question, seen, bonus)
        with_turns = "\n".join([*reversed(said[:_TURNS_READ]), question]) if said else ""
        shares = self._words.shares(question, seen)
        return self._meaning.rank(question, shares, seen, bonus, with_turns, need)

    def _is_clear(self, ranked: Ranked) -> float:
        """In [0, 1], how clearly the question was about its best hit."""
        lead = ranked.scores[0] - max(self._rivals(ranked), default=0.0)
        return self._confidence(ranked) * min(1.0, max(0.0, lead) / _CLEAR_LEAD)

    def _confidence(self, ranked: Ranked) -> float:
        return confidence(ranked.scores[0], self._rivals(ranked), ranked.curve)

    def _rivals(self, ranked: Ranked) -> list[float]:
        """The scores of what would answer something else: another page or section."""
        best = self._sections[ranked.rows[0]]
        pairs = zip(ranked.rows, ranked.scores, strict=True)
        return [score for row, score in pairs if self._sections[row] != best]

    def _seen(self, scope: str, without: Collection[str]) -> NDArray[np.bool_]:
        """Which passages may be found: `[passages]`."""
        if not self._is_scoped and not without:
            return np.ones(len(self.passages), np.bool_)
        return np.array(
            [is_visible(p.scope, scope) and p.document not in without for p in self.passages], np.bool_
        )


def _title(passage: Passage) -> str:
    """What the page is about: a FAQ entry's entity, else the first of several headings."""
    first, _, rest = passage.heading.partition(" › ")
    return passage.entity or (first if rest else "")
