"""The passages' meaning: vectors of what they answer, and a ranking that mixes these with the words.

What is mixed, and how, was chosen on public sets of FAQ, forum answers and product pages, each judged by
what was learned from the others: one vector of all that an entry is known by beats its best single question;
comparing word by word settles what is alike as a whole; words alone add little to entries with questions and
more to plain passages. `frontdesk bench answering` measures it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.library.documents import Passage
from engine.search.confidence import BY_MEANING
from engine.search.embedder import HUB_ID, Embedder
from engine.search.ranked import Ranked, best_rows, ranked
from engine.search.terms import content_terms
from engine.search.wording import Wording

# Of an entry that is known by questions: its vector, the question word by word, and BM25.
_OF_VECTOR, _OF_WORDING, _OF_WORDS = 0.57, 0.4, 0.03
# Of a passage without: its vector, and BM25.
_OF_VECTOR_ALONE, _OF_WORDS_BESIDE = 0.69, 0.17
# What a vector's score lets expect of the comparison word by word.
_EXPECTED, _EXPECTED_OF_VECTOR = 0.3, 0.6
# What earlier turns count at most, by how many words the question has that count.
_OF_TURNS = (0.9, 0.8, 0.6, 0.4, 0.2, 0.1)
# The body's vector counts this much beside each question's.
_OF_BODY = 1.5


class Meaning:
    """One vector a passage, and the words of those with questions."""

    def __init__(
        self,
        passages: Sequence[Passage],
        vectors: NDArray[np.float32],
        owners: NDArray[np.int64],
        embedder: Embedder,
    ) -> None:
        """Parameters
        vectors: of each passage's questions, then of its body `[texts, width]`
        owners: the row of the passage that each belongs to, rising
        """
        self._embedder = embedder
        self._vectors = _profiles(vectors, owners, len(passages))  # [passages, width]
        self._has_questions = np.array([bool(passage.questions) for passage in passages])
        self._is_section = np.array([passage.kind == "section" for passage in passages])
        texts = [(*p.questions, p.heading) if p.questions else () for p in passages]
        self._wording = Wording(texts, embedder)

    def can_read(self, question: str) -> bool:
        """Whether the embedder knows the question's script: the one that comes with us knows Latin only."""
        letters = [letter for letter in question if letter.isalpha()]
        latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
        return self._embedder.name != HUB_ID or 2 * latin >= len(letters)

    def rank(
        self,
        question: str,
        words: NDArray[np.float64],
        seen: NDArray[np.bool_],
        bonus: NDArray[np.float64],
        with_turns: str = "",
        need: float = 0.0,
    ) -> Ranked:
        """The best passages.

        Parameters
          words: of each passage, BM25 as share of the best one `[passages]`
          bonus: what the conversation adds to each `[passages]`
          with_turns: the question with what was said before it
          need: in [0, 1], how much that is needed to understand the question
        """
        need *= _share_of_turns(question)
        likeness = self._vectors @ self._asked(question, with_turns, need)
        expected = _EXPECTED + _EXPECTED_OF_VECTOR * likeness
        mixed = np.where(
            self._has_questions,
            _OF_VECTOR * likeness + _OF_WORDS * words,
            _OF_VECTOR_ALONE * likeness + _OF_WORDS_BESIDE * words + _OF_WORDING * _EXPECTED,
        )
        first = mixed + np.where(self._has_questions, _OF_WORDING * expected, 0)
        rows = best_rows(first + bonus, seen)
        closeness = np.zeros(len(rows))
        asked = np.flatnonzero(self._has_questions[rows])
        if len(asked):
            met = self._met(question, with_turns, need, rows[asked].tolist())
            told = expected[rows[asked]]
            # A heading is no question: a section may well answer what its heading does not say.
            is_told = np.isnan(met) | (self._is_section[rows[asked]] & (met < told))
            closeness[asked] = np.where(is_told, told, met)
        return ranked(rows, mixed[rows] + _OF_WORDING * closeness + bonus[rows], BY_MEANING)

    def _met(self, question: str, with_turns: str, need: float, rows: list[int]) -> NDArray[np.float64]:
        alone = self._wording.closeness(question, rows)
        if not with_turns:
            return alone
        return (1 - need) * alone + need * self._wording.closeness(with_turns, rows)

    def _asked(self, question: str, with_turns: str, need: float) -> NDArray[np.float32]:
        vectors = self._embedder([question, with_turns] if with_turns else [question])
        weights = np.array([1 - need, need] if with_turns else [1], np.float32)
        return np.asarray(weights @ vectors, np.float32)


def _share_of_turns(question: str) -> float:
    """How much what was said before may count: less, the more words the question has of its own."""
    terms = len(set(content_terms(question)))
    return _OF_TURNS[min(terms, len(_OF_TURNS) - 1)]


def _profiles(vectors: NDArray[np.float32], owners: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """The mean of each passage's vectors, of length 1: `[passages, width]`."""
    is_body = np.diff(owners, append=count) > 0
    weights = np.where(is_body, np.float32(_OF_BODY), np.float32(1))
    sums = np.add.reduceat(vectors * weights[:, None], np.searchsorted(owners, np.arange(count)), axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.where(lengths > 0, lengths, 1), np.float32)
