"""Answer, ask back or hand over: what a search's confidence means. Knows nothing of how it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.search.index import Found
from engine.types import Decision

# Below the threshold, but not below this share of it, the right entry is nearly always among the best three.
_ASK_BACK_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Confidences, in [0, 1]."""

    hand_over_below: float

    @property
    def ask_back_from(self) -> float:
        """From here up to `hand_over_below` the customer is asked what was meant."""
        return self.hand_over_below * _ASK_BACK_SHARE


def decide(
    found: Found, options: Sequence[str], thresholds: Thresholds, *, is_vague: bool, was_asked: bool
) -> Decision:
    """What to do with what was found.

    Parameters
      options: the readings that could be offered
      is_vague: the question fits several of them, see `choices.is_vague`
      was_asked: the customer has just chosen one: nobody is asked twice
    """
    if not found.hits:
        return "hand_over"
    if was_asked:
        return "answer"
    if found.confidence < thresholds.ask_back_from:
        return "hand_over"
    if found.confidence >= thresholds.hand_over_below and not is_vague:
        return "answer"
    return "ask_back" if len(options) > 1 else "hand_over"
