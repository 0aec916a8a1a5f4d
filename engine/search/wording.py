"""How well each word of a question is met by what an entry is known to answer.

Late interaction (Khattab and Zaharia, ColBERT, 2020): every word piece of the question looks for the piece
that is nearest to it in meaning; rare pieces count more. It tells entries apart whose questions are alike as
a whole.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.search.embedder import Embedder

# Of an entry with more questions the first ones do.
_MOST_TEXTS = 8


class Wording:
    """The words of many entries, each known by some short texts. Built once, never changed."""

    def __init__(self, entries: Sequence[Sequence[str]], embedder: Embedder) -> None:
        self._entries = [tuple(dict.fromkeys(texts))[:_MOST_TEXTS] for texts in entries]
        self._embedder = embedder
        pieces = iter(embedder.pieces([text for texts in self._entries for text in texts]))
        bags = [set[int]().union(*(next(pieces) for _ in texts)) for texts in self._entries]
        self._size = sum(map(bool, bags))
        self._found = Counter(piece for bag in bags for piece in bag)

    def closeness(self, question: str, rows: Iterable[int]) -> NDArray[np.float64]:
        """How close each of these entries comes, in [0, 1]: `[rows]`; not a number for one without texts."""
        rows = list(rows)
        texts = list(dict.fromkeys(text for row in rows for text in self._entries[row]))
        asked, *known = self._embedder.words([question, *texts])
        nearest = _nearest(asked.astype(np.float32), known)
        weights = self._weights(question)[: len(asked)]
        of_text = dict(zip(texts, nearest.T, strict=True))
        return np.array([_met(weights, [of_text[text] for text in self._entries[row]]) for row in rows])

    def _weights(self, question: str) -> NDArray[np.float64]:
        """The share of each of the question's pieces: its rarity among the entries (as in BM25)."""
        found = np.array([self._found[piece] for piece in self._embedder.pieces([question])[0]], np.float64)
        weights = np.log(1 + (self._size - found + 0.5) / (found + 0.5))
        return weights / (weights.sum() or 1.0)


def _nearest(asked: NDArray[np.float32], known: Sequence[NDArray[np.float16]]) -> NDArray[np.float32]:
    """Of each text the likeness of its nearest piece to each piece that is asked: `[asked, texts]`."""
    nearest = np.full((len(asked), len(known)), np.nan, np.float32)
    filled = [column for column, vectors in enumerate(known) if len(vectors)]
    if filled:
        starts = np.cumsum([0, *(len(known[column]) for column in filled[:-1])])
        vectors = np.concatenate([known[column] for column in filled]).astype(np.float32)
        nearest[:, filled] = np.maximum.reduceat(asked @ vectors.T, starts, axis=1)
    return nearest


def _met(weights: NDArray[np.float64], nearest: Sequence[NDArray[np.float32]]) -> float:
    """The weighted mean of how close the nearest of an entry's texts comes to each piece."""
    if not len(weights) or not nearest:
        return math.nan
    return float(np.clip(weights @ np.max(nearest, axis=0), 0, 1))
