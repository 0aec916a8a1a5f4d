"""Which pages a conversation is about: titles that were mentioned, and how long ago."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.search.bm25 import BM25
from engine.search.terms import content_terms

# A title counts less for each turn that has passed since.
_FADING = 0.85


class Mentions:
    """The titles of pages. Built once, never changed."""

    def __init__(self, titles: Sequence[str]) -> None:
        """Parameters
        titles: one for each passage, empty for one without
        """
        names = sorted({title for title in titles if title})
        places = {title: place for place, title in enumerate(names)}
        self._size = len(names)
        self._titles = np.array([places.get(title, self._size) for title in titles], np.int64)  # [passages]
        words = BM25(names)
        with_term: dict[str, list[int]] = defaultdict(list)
        lengths = np.zeros(self._size)
        self._rarity: dict[str, float] = {}
        for place, title in enumerate(names):
            for term in set(content_terms(title)):
                self._rarity[term] = words.idf(term)
                with_term[term].append(place)
                lengths[place] += self._rarity[term]
        self._with_term = {term: np.array(rows) for term, rows in with_term.items()}
        self._lengths = np.where(lengths > 0, lengths, 1.0)

    def search(self, turns: Sequence[str]) -> NDArray[np.float64]:
        """How much of its page's title was said, weighted by rarity, and how lately: `[passages]`, in [0, 1].

        Parameters
          turns: newest first
        """
        best = np.zeros(self._size + 1)  # the last stands for passages without a title
        for age, turn in enumerate(turns):
            said = np.zeros(self._size)
            for term in self._rarity.keys() & set(content_terms(turn)):
                said[self._with_term[term]] += self._rarity[term]
            best[:-1] = np.maximum(best[:-1], _FADING**age * said / self._lengths)
        return best[self._titles]
