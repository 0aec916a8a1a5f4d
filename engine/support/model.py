"""How much the features speak for a claim: a small network that no evidence against can please.

Score = bias − Σ linear·against − Σ size·sigmoid(against·inner + free·turn + start), where `linear`, `size`
and `inner` are not negative: more evidence against a claim never raises its score. The weights were learned
by `engine/bench/support_fit.py` on the sample pages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WEIGHTS = Path(__file__).parents[1] / "data" / "support_weights.json"
# A feature counts at most this many of its standard deviations in the linear part.
MOST_DEVIATIONS = 4.0

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class SupportModel:
    """Weights by feature; what is scored at `threshold` or more is supported."""

    against: tuple[str, ...]
    free: tuple[str, ...]
    against_scale: Vector  # [against]
    free_scale: Vector  # [free]
    linear: Vector  # [against]
    inner: Vector  # [against, units]
    turn: Vector  # [free, units]
    start: Vector  # [units]
    size: Vector  # [units]
    bias: float
    threshold: float

    def score(self, features: Mapping[str, float]) -> float:
        """Above the threshold for what is supported."""
        against = np.array([features.get(name, 0.0) for name in self.against]) / self.against_scale
        free = np.array([features.get(name, 0.0) for name in self.free]) / self.free_scale
        units = 1 / (1 + np.exp(-(against @ self.inner + free @ self.turn + self.start)))
        return float(self.bias - np.minimum(against, MOST_DEVIATIONS) @ self.linear - units @ self.size)


@cache
def support_model(pages: str = "all") -> SupportModel:
    """The shipped weights, read once: fitted on all sample pages, on "half 0" or on "half 1"."""
    stored = json.loads(WEIGHTS.read_text(encoding="utf-8"))[pages]
    return SupportModel(
        against=tuple(stored["against"]),
        free=tuple(stored["free"]),
        against_scale=np.array(stored["against_scale"]),
        free_scale=np.array(stored["free_scale"]),
        linear=np.array(stored["linear"]),
        inner=np.array(stored["inner"]),
        turn=np.array(stored["turn"]),
        start=np.array(stored["start"]),
        size=np.array(stored["size"]),
        bias=stored["bias"],
        threshold=stored["threshold"],
    )
