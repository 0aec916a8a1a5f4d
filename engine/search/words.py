"""The passages' words: what search by words tells of each, and a ranking where there is nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.library.documents import Passage
from engine.search.bm25 import BM25
from engine.search.confidence import BY_WORDS
from engine.search.ngrams import CharNGrams
from engine.search.ranked import Ranked, best_rows, ranked

# Chosen on public FAQ sets: rare words rank best, covered words and n-grams tell best whether anything fits.
_OF_WORDS, _OF_COVERAGE, _OF_GRAMS = 0.2, 0.4, 0.4
# Of a passage that nobody wrote a question or heading for, so many characters are compared by n-grams.
_OPENING_CHARACTERS = 200


class Words:
    """BM25 over headings, questions and texts; character n-grams over each question."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._bm25 = BM25(["\n".join(dict.fromkeys((p.heading, *p.questions, p.text))) for p in passages])
        asked = [p.questions or (p.heading or p.text[:_OPENING_CHARACTERS],) for p in passages]
        self._grams = CharNGrams([text for texts in asked for text in texts])
        self._starts = np.cumsum([0, *map(len, asked)])[:-1]

    def shares(self, question: str, seen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """BM25 as share of the best one that is seen: `[passages]`, in [0, 1]."""
        return _shares(self._bm25.search(question)[0], seen)

    def covered(self, text: str) -> float:
        """The largest share of the text's words, weighted by rarity, that one passage has: in [0, 1]."""
        return float(self._bm25.search(text)[1].max(initial=0.0))

    def rank(self, question: str, seen: NDArray[np.bool_], bonus: NDArray[np.float64]) -> Ranked:
        """The best passages by words alone."""
        bm25, coverage = self._bm25.search(question)
        grams = np.maximum.reduceat(self._grams.search(question), self._starts)
        scores = _OF_WORDS * _shares(bm25, seen) + _OF_COVERAGE * coverage + _OF_GRAMS * grams + bonus
        rows = best_rows(scores, seen)
        return ranked(rows, scores[rows], BY_WORDS)


def _shares(scores: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    known = np.where(seen, scores, 0.0)
    return known / (known.max(initial=0.0) or 1.0)
