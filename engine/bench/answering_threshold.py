"""How often an answer is right at a threshold that was chosen without looking at the questions judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.bench.answering_rows import ANSWERED, OURS, PRECISION, share
from engine.bench.answering_search import Answers
from engine.bench.row import Row
from engine.evaluation.calibration import Curve
from engine.evaluation.cases import Cases
from engine.evaluation.statistics import quantile
from engine.library.documents import passages
from engine.search.confidence import HAND_OVER_BELOW
from engine.search.embedder import Embedder

# Which share of the known questions the fitted threshold lets pass, and the precision asked of a calibration.
_ANSWERED, _ASKED = 0.88, 0.95

Judged = tuple[int, float, bool, bool]
"""Half, confidence, whether something answers the question, whether the answer was right."""


def rows(answers: Answers, embedder: Embedder, precision: float, answered: float) -> Iterator[Row]:
    """At the threshold fitted to the other half of the questions, the calibrated and the default one.

    Parameters
      precision, answered: what is to be reached
    """
    judged = [
        (asked.half, sure, answers.task.is_known(asked), document in asked.gold)
        for asked, (document, sure) in zip(answers.task.asked, answers.of[OURS], strict=True)
    ]
    fitted = {half: _threshold([one for one in judged if one[0] != half]) for half in (0, 1)}
    yield from _measured("fitted threshold", judged, fitted, (precision, answered))
    if (calibrated := _calibrated(answers, embedder)) is not None:
        both = dict.fromkeys(fitted, calibrated)
        yield from _measured("calibrated threshold", judged, both, (precision, answered))
    yield from _measured("default threshold", judged, dict.fromkeys(fitted, HAND_OVER_BELOW), (None, None))


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
    """The confidence that the wanted share of the known questions reaches."""
    return quantile([sure for _, sure, is_known, _ in judged if is_known], 1 - _ANSWERED)


def _calibrated(answers: Answers, embedder: Embedder) -> float | None:
    """What `frontdesk calibrate` would choose: from the entries alone, no question of a customer seen."""
    documents = [d for d in answers.task.documents if d.id not in answers.task.withheld]
    found = [passage for document in documents for passage in passages(document)]
    return Curve(Cases(found, embedder).ask()).threshold_for(_ASKED)
