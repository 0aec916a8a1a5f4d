"""One calibration: asks the knowledge base its own questions, fits the threshold, tells what it is worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.calibration import Case, Curve, Point
from engine.evaluation.calibration_store import Calibration
from engine.evaluation.cases import Cases
from engine.evaluation.known_texts import KnownTexts
from engine.search.knowledge import KnowledgeBase

FEWEST_ENTRIES = 20
"""With fewer a single question more or less would move the threshold."""
UNKNOWN = 0.3
"""How many of customers' questions the pages do not answer, where the team does not say."""
# Texts whose vectors are got at a time, between two reports of progress.
_TEXTS_AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a calibration found. Without `calibration` there is no threshold, and `reason` says why."""

    entries: int
    calibration: Calibration | None = None
    reason: str = ""
    points: tuple[Point, ...] = ()
    chosen: Point | None = None
    mistaken: tuple[Case, ...] = ()
    """What would be answered wrongly at the threshold, the surest first."""


async def fit(
    knowledge: KnowledgeBase,
    *,
    precision: float,
    unknown: float = UNKNOWN,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Fitted:
    """Fit the threshold to the knowledge base as it is indexed now. Nothing is stored.

    Parameters
      precision: which share of what is answered shall be right
      unknown: which share of customers' questions the pages do not answer
      on_progress: hears the stage, and how much of how much of it is done
    """
    index, embedder = knowledge.index, knowledge.embedder
    # Asked from nowhere in particular, all that was learned shall be seen.
    passages = [replace(passage, scope="") for passage in index.passages]
    cases = Cases(passages, None, unknown=unknown)
    if len(cases.entries) < FEWEST_ENTRIES:
        return Fitted(len(cases.entries), reason=_too_few(len(cases.entries)))
    if embedder is not None:
        vectors = await _vectors(knowledge, await asyncio.to_thread(cases.texts), on_progress)
        known = KnownTexts(embedder, vectors)
        # Together that is several times as fast as one by one while they are asked.
        await asyncio.to_thread(known.words, cases.questions())
        cases = Cases(passages, known, unknown=unknown)
    asked = await asyncio.to_thread(cases.ask, lambda done, total: on_progress("asking", done, total))
    curve = Curve(asked)
    threshold = curve.threshold_for(precision)
    if threshold is None:
        best = curve.best()
        return Fitted(
            len(cases.entries),
            reason=_out_of_reach(precision, best),
            points=tuple(curve.points()),
            mistaken=_mistaken(asked, best.threshold),
        )
    chosen = curve.at(threshold)
    calibration = Calibration(
        threshold=threshold,
        precision_asked=precision,
        precision=round(chosen.precision, 4),
        interval=(round(chosen.low, 4), round(chosen.high, 4)),
        share=round(chosen.share, 4),
        refused=round(chosen.refused, 4),
        unknown=unknown,
        entries=len(cases.entries),
        version=index.version,
        embedder=embedder.name if embedder else "",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Fitted(
        len(cases.entries),
        calibration,
        points=tuple(curve.points()),
        chosen=chosen,
        mistaken=_mistaken(asked, threshold),
    )


async def _vectors(
    knowledge: KnowledgeBase, texts: Sequence[str], on_progress: Callable[[str, int, int], None]
) -> dict[str, NDArray[np.float32]]:
    """The texts' vectors: most are stored already, and the others are then."""
    vectors: dict[str, NDArray[np.float32]] = {}
    for first in range(0, len(texts), _TEXTS_AT_A_TIME):
        some = list(texts[first : first + _TEXTS_AT_A_TIME])
        vectors.update(zip(some, await knowledge.embed(some), strict=True))
        on_progress("reading", len(vectors), len(texts))
    return vectors


def _mistaken(cases: Sequence[Case], threshold: float) -> tuple[Case, ...]:
    wrong = [case for case in cases if case.confidence >= threshold and not case.is_right]
    return tuple(sorted(wrong, key=lambda case: -case.confidence))


def _too_few(count: int) -> str:
    return (
        f"{count} entries are too few to calibrate on: at least {FEWEST_ENTRIES} questions or headings are "
        "needed. The default threshold stays."
    )


def _out_of_reach(precision: float, best: Point) -> str:
    return (
        f"No threshold makes {precision:.0%} of what is answered right: the best is {best.precision:.0%}, "
        f"with {best.share:.0%} of the known questions answered. Nothing was changed. Make the entries below "
        "more distinct, give them aliases, or ask for less with --precision."
    )
