"""How well the support check tells what the sample pages say from what they do not quite say.

Weights fitted on one half of the pages are measured on the other, both ways, so that no page is judged by
weights that have seen it. Rows of the shipped weights, fitted on all pages, stand beside them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from engine.bench.row import Row
from engine.bench.support_set import Case, half_of, made_cases, sample_passages, written_cases
from engine.evaluation.statistics import wilson
from engine.search.embedder import Embedder
from engine.support.model import SupportModel, support_model
from engine.support.support import Support

PART = "support"
# Of the made cases every one in this many is measured, another one than is learned from.
_EVERY = 3


def measure(embedder: Embedder | None, every: int = _EVERY) -> list[Row]:
    """Recall of unsupported sentences and false alarms, by kind of change, with 95 % intervals.

    `every` takes one in so many of the cases made by rule; the hand-written ones are all taken.
    """
    rows: list[Row] = []
    models: dict[str, Callable[[str], SupportModel]] = {
        "held out": lambda page: support_model(f"half {1 - half_of(page)}"),
        "shipped": lambda page: support_model(),
    }
    for name, model in models.items():
        judged = judge(embedder, every, model)
        rows += _rows(judged, name)
    return rows


def judge(
    embedder: Embedder | None, every: int, model: Callable[[str], SupportModel]
) -> list[tuple[Case, bool]]:
    """Each case, and whether it was found supported by its page, with the weights for that page."""
    pages = sample_passages()
    cases = [*written_cases(), *list(made_cases(pages))[1::every]]
    judged = list[tuple[Case, bool]]()
    for page, passages in pages.items():
        own = [case for case in cases if case.page == page]
        support = Support(passages, embedder, language="en", model=model(page))
        found = support.check_all([case.text for case in own])
        judged += [(case, one is not None) for case, one in zip(own, found, strict=True)]
    return judged


def _rows(judged: Sequence[tuple[Case, bool]], name: str) -> list[Row]:
    row = partial(_row, name)
    wrong = [(case, not accepted) for case, accepted in judged if not case.is_supported]
    honest = [(case, not accepted) for case, accepted in judged if case.is_supported]
    rows = []
    for metric, cases in (("recall", wrong), ("false alarms", honest)):
        rows.append(row(metric, [hit for _, hit in cases]))
        for is_made, sort in ((False, "written"), (True, "made")):
            rows.append(row(f"{metric}, {sort}", [hit for case, hit in cases if case.is_made == is_made]))
        by_kind = defaultdict[str, list[bool]](list)
        for case, hit in cases:
            by_kind[f"{'made' if case.is_made else 'written'} {case.kind}"].append(hit)
        rows += [row(f"{metric}, {kind}", hits) for kind, hits in sorted(by_kind.items())]
    return rows


def _row(name: str, metric: str, hits: Sequence[bool]) -> Row:
    low, high = wilson(sum(hits), len(hits))
    share = sum(hits) / len(hits) if hits else None
    extras = (("count", len(hits)), ("low", round(low, 4)), ("high", round(high, 4)))
    return Row(metric, share, "share", PART, contestant=name, extras=extras)
