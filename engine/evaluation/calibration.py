"""The confidence under which the bot says that it does not know, fitted for a wanted precision.

Fits a curve to cases, each a question with the confidence of its best hit and whether that hit was right.
Knows not where the cases come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.evaluation.statistics import wilson

# Below this share of known questions answered, a threshold answers too little to be of use.
_WORTH_ANSWERING = 0.05
_POINTS = 21


@dataclass(frozen=True, slots=True)
class Case:
    """A question that was asked of the index with something withheld."""

    question: str
    confidence: float
    is_known: bool
    """What answers it was there to be found."""
    is_right: bool
    weight: float
    best: str = ""
    """The heading of the best hit."""


@dataclass(frozen=True, slots=True)
class Point:
    """What comes of one threshold: shares in [0, 1]."""

    threshold: float
    precision: float
    """Of what is answered, how much is right, as measured; 1 where nothing is answered."""
    low: float
    high: float
    """The 95 % interval of the precision."""
    share: float
    """Of the known questions, how many are answered rightly."""
    refused: float
    """Of the unknown questions, how many are not answered."""


class Curve:
    """Precision and share over the threshold."""

    def __init__(self, cases: Sequence[Case]) -> None:
        ordered = sorted(cases, key=lambda case: -case.confidence)
        self._confidence = np.array([case.confidence for case in ordered])  # [cases], best first
        self._right = np.array([case.is_right for case in ordered], dtype=np.float64)
        self._known = np.array([case.is_known for case in ordered])
        self._weight = np.array([case.weight for case in ordered])

    def at(self, threshold: float) -> Point:
        """What was measured at a threshold."""
        answered = self._confidence >= threshold
        weight = self._weight[answered]
        total, right = float(weight.sum()), float((weight * self._right[answered]).sum())
        precision = min(1.0, right / total) if total else 1.0
        # Unequal weights tell as much as this many equal ones (Kish, Survey Sampling, 1965).
        count = total**2 / float((weight**2).sum()) if total else 0.0
        known = float(self._weight[self._known].sum())
        unknown = float(self._weight[~self._known].sum())
        answered_unknown = float(self._weight[answered & ~self._known].sum())
        return Point(
            threshold,
            precision,
            *wilson(precision * count, count),
            share=right / known if known else 0.0,
            refused=1 - answered_unknown / unknown if unknown else 1.0,
        )

    def points(self) -> list[Point]:
        """The curve, evenly over the thresholds that make a difference, lowest first."""
        low, high = float(self._confidence[-1]), float(self._confidence[0])
        return [self.at(threshold) for threshold in np.linspace(low, high, _POINTS).tolist()]

    def threshold_for(self, precision: float) -> float | None:
        """The lowest threshold with that precision; None if no threshold that is of use has it."""
        weight = np.cumsum(self._weight)
        precisions = np.cumsum(self._weight * self._right) / weight
        # Of cases with the same confidence all are answered or none.
        is_last = np.append(np.diff(self._confidence) < 0, True)
        good = np.flatnonzero((precisions >= precision - 1e-9) & is_last)
        if not len(good):
            return None
        threshold = float(self._confidence[good[-1]])
        return threshold if self.at(threshold).share >= _WORTH_ANSWERING else None

    def best(self) -> Point:
        """The point of the highest precision among those that answer something worth it."""
        points = [point for point in self.points() if point.share >= _WORTH_ANSWERING]
        return max(points or [self.points()[0]], key=lambda point: point.precision)
