"""Answer, ask back or hand over: what a search's confidence means. Knows nothing of how it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.answering.choices import is_rivalled, is_short
from engine.search.index import Found
from engine.types import Decision

# From the first confidence on the right entry is nearly always among the best three, but a team that answers
# much wants to ask little; up to the last, what another page fits as well is wrong more often than not.
_ASK_BACK_FROM, _ASK_BACK_SHARE, _SURE_FROM = 0.16, 0.4, 0.6


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Confidences, in [0, 1]."""

    hand_over_below: float

    @property
    def ask_back_from(self) -> float:
        """From here up to `hand_over_below` the customer is asked what was meant."""
        return min(_ASK_BACK_FROM, self.hand_over_below * _ASK_BACK_SHARE)

    @property
    def sure_from(self) -> float:
        """From here on another page that fits as well means nothing, but for a short question."""
        return max(_SURE_FROM, self.hand_over_below)


def decide(
    question: str, found: Found, options: Sequence[str], thresholds: Thresholds, *, was_asked: bool
) -> Decision:
    """What to do with what was found.

    Parameters
      options: the readings that could be offered
      was_asked: the customer has just chosen one: nobody is asked twice
    """
    if not found.hits:
        return "hand_over"
    if was_asked:
        return "answer"
    if found.confidence < thresholds.ask_back_from:
        return "hand_over"
    is_open = found.confidence < thresholds.sure_from or is_short(question)
    if found.confidence >= thresholds.hand_over_below and not (is_open and is_rivalled(found.hits)):
        return "answer"
    return "ask_back" if len(options) > 1 else "hand_over"
