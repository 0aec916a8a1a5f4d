"""How often an answer is right at a threshold that was chosen without looking at the questions judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.bench.answering_rows import ANSWERED, OURS, PRECISION, share
from engine.bench.answering_search import Answers
from engine.bench.row import Row
from engine.confidence import HAND_OVER_BELOW

Judged = tuple[int, float, bool, bool]
"""Half, confidence, whether something answers the question, whether the answer was right."""


def rows(name: str, answers: Answers, precision: float, answered: float) -> Iterator[Row]:
    """At the threshold fitted to the other half of the questions, and at the default one."""
    judged = [
        (asked.half, sure, answers.task.is_known(asked), document in asked.gold)
        for asked, (document, sure) in zip(answers.task.asked, answers.of[OURS], strict=True)
    ]
    chosen = {half: _threshold([one for one in judged if one[0] != half]) for half in (0, 1)}
    yield from _measured(f"{name}, fitted threshold", judged, chosen, (precision, answered))
    default = dict.fromkeys(chosen, HAND_OVER_BELOW)
    yield from _measured(f"{name}, default threshold", judged, default, (None, None))


def _measured(
    name: str,
    judged: Sequence[Judged],
    thresholds: dict[int, float],
    targets: tuple[float | None, float | None],
) -> Iterator[Row]:
    """Precision of all that is answered, and the share of known questions that are."""
    right = [is_right for half, sure, _, is_right in judged if sure >= thresholds[half]]
    known = [sure >= thresholds[half] for half, sure, is_known, _ in judged if is_known]
    yield share(name, OURS, PRECISION, right, targets[0])
    yield share(name, OURS, ANSWERED, known, targets[1])


def _threshold(judged: Sequence[Judged]) -> float:
    """The confidence that balances best: known questions answered rightly, and unknown ones not at all."""
    known = sum(is_known for _, _, is_known, _ in judged) or 1
    unknown = sum(not is_known for _, _, is_known, _ in judged) or 1

    def balance(threshold: float) -> float:
        right = sum(is_right for _, sure, _, is_right in judged if sure >= threshold)
        refused = sum(not is_known for _, sure, is_known, _ in judged if sure < threshold)
        return right / known + refused / unknown

    return max((sure for _, sure, _, _ in judged), key=balance, default=1.0)
