"""Which windows are read within a budget: the best ones, what they share counted once.

Knows neither texts nor tokens: a window is a pair of offsets in any unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]


def choose(windows: Sequence[Span], scores: NDArray[np.float64], budget: int) -> list[Span]:
    """The stretches that the best windows cover together, in order of place, joined where they touch.

    Windows are taken by score until one no longer fits: a worse one that would fit is not read in its place.

    Parameters
      windows: start and end of each, in characters or tokens; they may overlap
      scores: one each, more is better; of equals the earlier comes first
      budget: how much may be covered, in the windows' unit
    """
    taken: list[Span] = []
    for row in np.argsort(-scores, kind="stable"):
        joined = _joined([*taken, windows[row]])
        if sum(end - start for start, end in joined) > budget:
            break
        taken = joined
    return taken


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
