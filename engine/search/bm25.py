"""BM25: which texts have the rare words of a query."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.search.terms import content_term, content_terms, words

_NO_TERM = -1


class BM25:
    """BM25 (Robertson & Zaragoza 2009) over an inverted index. Built once, never changed."""

    def __init__(self, texts: Sequence[str], k1: float = 1.2, b: float = 0.75) -> None:
        self._size = len(texts)
        self._ids, ids, rows = _occurrences(texts)
        keys, counts = np.unique(ids << 32 | rows, return_counts=True)
        self._rows: NDArray[np.int32] = keys.astype(np.int32)  # [postings], grouped by term
        self._starts = np.searchsorted(keys >> 32, np.arange(len(self._ids) + 1))  # [terms + 1]
        found = np.diff(self._starts)
        self._idfs = self._rarity(found)  # [terms] float64
        lengths = np.bincount(rows, minlength=self._size)
        norms = k1 * (1 - b + b * lengths / (lengths.mean() if len(rows) else 1.0))
        shares = counts * (k1 + 1) / (counts + norms[self._rows])
        self._weights = (shares * np.repeat(self._idfs, found)).astype(np.float32)  # [postings]

    def idf(self, term: str) -> float:
        """How rare a term is; a term never seen is the rarest."""
        place = self._ids.get(term)
        return float(self._rarity(0) if place is None else self._idfs[place])

    def search(self, query: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores `[texts]`, and the share in [0, 1] of the query's weight that each text covers `[texts]`."""
        wanted = set(content_terms(query))
        known = self._known(wanted)
        covered = np.zeros(self._size)
        for place in known:
            covered[self._found(place)] += self._idfs[place]
        total = math.fsum(self.idf(term) for term in wanted)
        return self._scores(known), np.minimum(covered / (total or 1.0), 1.0)

    def top(self, query: str, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The rows and scores of at most `count` texts that have a term of `query`, best first.

        Of texts with the same score the earlier one is better. `count` is 1 or more.
        """
        known = self._known(set(content_terms(query)))
        scores = self._scores(known)
        rows = np.flatnonzero(scores >= self._bound(scores, known, count))
        best = rows[np.argsort(-scores[rows], kind="stable")[:count]]
        return best, scores[best]

    def _bound(self, scores: NDArray[np.float64], known: Sequence[int], count: int) -> float:
        """A score that the best `count` texts reach and few others do, above 0.

        The best `count` of any texts reach at least what the best `count` of some of them do: so it is
        enough to sort the texts that have the rarest term that enough texts have.
        """
        enough = [place for place in known if len(self._found(place)) >= count]
        if not enough:
            return math.ulp(0.0)
        some = scores[self._found(min(enough, key=lambda place: len(self._found(place))))]
        return float(np.partition(some, len(some) - count)[len(some) - count])

    def _known(self, wanted: set[str]) -> list[int]:
        """The places of terms that some text has, in one order: sums shall not depend on that of a set."""
        return sorted(self._ids[term] for term in wanted if term in self._ids)

    def _found(self, place: int) -> NDArray[np.int32]:
        """The rows of the texts that have a term."""
        return self._rows[self._starts[place] : self._starts[place + 1]]

    def _scores(self, known: Sequence[int]) -> NDArray[np.float64]:
        scores = np.zeros(self._size)
        for place in known:
            scores[self._found(place)] += self._weights[self._starts[place] : self._starts[place + 1]]
        return scores

    def _rarity(self, found: NDArray[np.int64] | int) -> NDArray[np.float64]:
        return np.log(1 + (self._size - found + 0.5) / (np.asarray(found) + 0.5))


class _Ids(dict[str, int]):
    """The id of each word's term, worked out when the word is first seen."""

    def __init__(self) -> None:
        self.of_terms: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        term = content_term(word)
        self[word] = self.of_terms.setdefault(term, len(self.of_terms)) if term else _NO_TERM
        return self[word]


def _occurrences(texts: Sequence[str]) -> tuple[dict[str, int], NDArray[np.int64], NDArray[np.int64]]:
    """Ids of all terms, and the id and text of every occurrence of one, in order."""
    ids, ends, found = _Ids(), [0], array("i")
    for text in texts:
        found.extend(map(ids.__getitem__, words(text)))
        ends.append(len(found))
    all_ids = np.array(found, np.int64)
    rows = np.repeat(np.arange(len(texts)), np.diff(ends))
    is_term = all_ids != _NO_TERM
    return ids.of_terms, all_ids[is_term], rows[is_term]
