"""How sure a search is that its best hit answers: a probability, comparable between questions and pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

HAND_OVER_BELOW = 0.4
"""Confidence under which the bot does not answer, until `frontdesk calibrate` finds a better one."""

# With fewer rivals than this, the missing ones count as far off as any text is from any other.
_RIVALS, _FAR_OFF = 4, 0.2


@dataclass(frozen=True, slots=True)
class Curve:
    """A logistic regression on the best hit's fit, and on how far it leads."""

    bias: float
    of_best: float
    of_lead: float


# Fitted to whether the best hit was right, on questions of public sets with and without an answer among the
# entries, every set with the same weight.
BY_MEANING = Curve(-5.76, 8.35, 6.26)
BY_WORDS = Curve(-3.4, 4.0, 5.0)


def confidence(best: float, rivals: Sequence[float], curve: Curve = BY_MEANING) -> float:
    """In [0, 1], how likely the best hit answers the question.

    Two things tell: how well it fits, and how far it leads before what would answer something else.

    Parameters
      best: how well it fits
      rivals: how well the others fit, best first
      curve: that of the ranking which the fits come from
    """
    counted = [*rivals[:_RIVALS], *[_FAR_OFF] * (_RIVALS - len(rivals))]
    lead = best - sum(counted) / _RIVALS
    return 1 / (1 + math.exp(-(curve.bias + curve.of_best * best + curve.of_lead * lead)))
