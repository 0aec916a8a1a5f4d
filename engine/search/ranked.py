"""The best passages for a question, with their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.search.confidence import Curve

# So many are ranked: what is asked for, and rivals enough to tell how sure the first is.
MOST_RANKED = 12


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows of an index with their scores, best first; never empty."""

    rows: list[int]
    scores: list[float]
    curve: Curve
    """What the scores mean: those of another ranking mean something else."""


def best_rows(scores: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The rows of the best that are seen, best first; of equals the earlier comes first."""
    rows = np.flatnonzero(seen)
    if len(rows) > MOST_RANKED:
        least = np.partition(scores[rows], len(rows) - MOST_RANKED)[len(rows) - MOST_RANKED]
        rows = rows[scores[rows] >= least]
    return rows[np.argsort(-scores[rows], kind="stable")[:MOST_RANKED]]


def ranked(rows: NDArray[np.int64], scores: NDArray[np.float64], curve: Curve) -> Ranked:
    """Order the rows by their scores `[rows]`."""
    order = np.argsort(-scores, kind="stable")
    return Ranked(rows[order].tolist(), scores[order].tolist(), curve)
