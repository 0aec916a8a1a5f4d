"""Which windows of a text matter for a question: words first, meaning only for the best few.

Knows nothing of documents, indexes or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.search.bm25 import BM25
from engine.search.embedder import Embedder

# A window costs the embedder some 30 ms on a CPU: only those that the words put first are read by it.
_READ_BY_EMBEDDER = 24
_WEIGHT_OF_MEANING = 0.4


def rank_windows(
    question: str, windows: Sequence[str], embedder: Embedder | None = None
) -> NDArray[np.float64]:
    """How much each of a text's windows matters for the question: `[windows]`, in [0, 1], more is better.

    Comparable between the windows of one call only. Windows may overlap.

    Parameters
      windows: texts of about 128 tokens (500 characters), in any order
      embedder: reads the best few dozen by words as well; without it the words decide alone
    """
    if not windows:
        return np.zeros(0)
    scores = _share(BM25(windows).search(question)[0])
    if embedder is None:
        return scores
    best = np.argsort(-scores, kind="stable")[:_READ_BY_EMBEDDER]
    vectors = embedder([question, *(windows[row] for row in best)])
    cosines = np.clip(vectors[1:] @ vectors[0], 0, 1)
    mixed = (1 - _WEIGHT_OF_MEANING) * scores
    mixed[best] += _WEIGHT_OF_MEANING * cosines
    return mixed


def _share(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores as shares of the best one."""
    return scores / (scores.max() or 1.0)
