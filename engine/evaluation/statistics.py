"""Small statistics that reports share. Knows nothing of what is counted."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import median

# Of the normal distribution: 95 % of it lies within this many standard deviations.
_Z95 = 1.959963984540054


def wilson(right: float, count: float) -> tuple[float, float]:
    """The 95 % interval of a share of `right` among `count`; the whole of [0, 1] when nothing was counted.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927. Unlike the
    normal approximation it stays inside [0, 1] and holds for few cases and for shares near 0 and 1.

    Raises `ValueError` for a share that is none.
    """
    if not 0 <= right <= count:
        raise ValueError(f"{right} of {count} is no share")
    if not count:
        return 0.0, 1.0
    share, squared = right / count, _Z95**2
    middle = share + squared / (2 * count)
    spread = _Z95 * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    scale = 1 + squared / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """How often a positive scores higher than a negative, a tie counting half: the area under the ROC curve.

    Not a number when one side is empty. Mann and Whitney's U divided by the number of pairs.
    """
    if not positives or not negatives:
        return math.nan
    ordered = sorted(negatives)
    wins = sum(bisect_left(ordered, score) + bisect_right(ordered, score) for score in positives)
    return wins / (2 * len(positives) * len(negatives))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed. Raises `ValueError` for none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


__all__ = ["auroc", "median", "quantile", "wilson"]
