"""Figures with what they were counted on: shares and areas under a curve, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.bench.row import Row
from engine.evaluation.statistics import auroc, wilson

PART = "answering"
OURS = "ours"
HIT, AUROC, PRECISION, ANSWERED, INSIDE, EXACT = (
    "hit@1",
    "AUROC",
    "precision",
    "answered",
    "answer inside",
    "exact offsets",
)
# Of the normal distribution: 95 % of it lies within this many standard deviations.
_Z95 = 1.96


def share(task: str, who: str, metric: str, right: Sequence[bool], target: float | None = None) -> Row:
    """How many of the cases are right, with Wilson's interval. A target is of ours alone."""
    low, high = wilson(sum(right), len(right))
    value = sum(right) / len(right) if right else None
    return _row(task, who, metric, value, len(right), (low, high), target)


def area(
    task: str, who: str, known: Sequence[float], unknown: Sequence[float], target: float | None = None
) -> Row:
    """How often a known question scores higher than an unknown one.

    Its standard error is that of Hanley and McNeil, The meaning and use of the area under a ROC curve, 1982.
    """
    value = auroc(known, unknown)
    twice, square = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (len(known) - 1) * (twice - value**2)
    variance += (len(unknown) - 1) * (square - value**2)
    error = _Z95 * math.sqrt(variance / (len(known) * len(unknown)))
    interval = (max(0.0, value - error), min(1.0, value + error))
    return _row(task, who, AUROC, value, len(known) + len(unknown), interval, target)


def _row(
    task: str,
    who: str,
    metric: str,
    value: float | None,
    count: int,
    interval: tuple[float, float],
    target: float | None,
) -> Row:
    extras = {"count": count, "low": round(interval[0], 4), "high": round(interval[1], 4), "target": target}
    kept = tuple((name, entry) for name, entry in extras.items() if entry is not None)
    return Row(metric, value, "share", PART, task, who, extras=kept)
