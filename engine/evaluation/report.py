"""What an evaluation comes to: shares with their intervals, and what changed since an earlier one."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BadEvaluationData
from engine.evaluation.evaluation import Result
from engine.evaluation.statistics import auroc, median, quantile, wilson


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    right: int
    count: int

    @property
    def value(self) -> float | None:
        """None when nothing was counted."""
        return self.right / self.count if self.count else None

    def to_json(self) -> dict[str, Any]:
        low, high = wilson(self.right, self.count)
        value = None if self.value is None else round(self.value, 4)
        return {
            "value": value,
            "right": self.right,
            "count": self.count,
            "interval": [round(low, 4), round(high, 4)],
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one evaluation."""

    shares: Mapping[str, Share]
    auroc: float | None
    """How well the confidence tells questions with an answer from those to be handed over."""
    median_ms: float
    p95_ms: float

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: share.to_json() for name, share in self.shares.items()},
            "auroc": None if self.auroc is None else round(self.auroc, 4),
            "ms": {"median": round(self.median_ms, 1), "p95": round(self.p95_ms, 1)},
        }


def summarise(results: Sequence[Result]) -> Summary:
    """The figures of these results, of which there is at least one.

    `precision` counts what was answered, also where another decision was expected: a wrong answer is worse
    than none. `hit_at_1` and `hit_at_3` look at the search alone, whatever was decided on it; an engine that
    does not tell what it found has none.
    """
    with_documents = [result for result in results if result.question.expect.documents]
    searched = with_documents if any(result.found for result in results) else []
    answerable = [result for result in results if result.question.expect.decision == "answer"]
    answered = [result for result in results if result.decision == "answer"]

    def share(among: Sequence[Result], is_one: Callable[[Result], bool]) -> Share:
        return Share(sum(map(is_one, among)), len(among))

    shares = {
        "right": share(results, lambda it: it.is_right),
        "hit_at_1": share(searched, lambda it: _is_found(it, 1)),
        "hit_at_3": share(searched, lambda it: _is_found(it, 3)),
        "precision": share(answered, lambda it: it.is_right),
        "answered_right": share(answerable, lambda it: it.is_right),
        "handed_over": share(results, lambda it: it.decision == "hand_over"),
        "hand_over_right": share(_expecting(results, "hand_over"), lambda it: it.is_right),
        "ask_back_right": share(_expecting(results, "ask_back"), lambda it: it.is_right),
        "supported": Share(sum(it.supported for it in answered), sum(it.sentences for it in answered)),
        "true_offsets": Share(
            sum(it.citations - it.wrong_offsets for it in results), sum(it.citations for it in results)
        ),
    }
    times = [result.milliseconds for result in results]
    return Summary(shares, _auroc(results), median(times), quantile(times, 0.95))


def _is_found(result: Result, first: int) -> bool:
    return not set(result.question.expect.documents).isdisjoint(result.found[:first])


def _expecting(results: Sequence[Result], decision: str) -> list[Result]:
    return [result for result in results if result.question.expect.decision == decision]


def _auroc(results: Sequence[Result]) -> float | None:
    """Over what was searched for: "I want a person" is handed over with the fullest confidence."""
    searched = [result for result in results if result.found] or results
    area = auroc(
        [result.confidence for result in _expecting(searched, "answer")],
        [result.confidence for result in _expecting(searched, "hand_over")],
    )
    return None if math.isnan(area) else area


@dataclass(frozen=True, slots=True)
class Change:
    """A question of which something else became than before."""

    kind: str
    """`improved` or `worsened` when it was wrong or right before, else `changed`; `new` or `gone`."""
    line: int
    question: str
    what: tuple[str, ...] = ()
    """Old and new, for each thing that changed."""

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "line": self.line, "question": self.question, "what": list(self.what)}


def read_report(path: Path) -> dict[str, Any]:
    """A report as `eval --json` printed it. Raises `BadEvaluationData`."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        for row in report["rows"]:
            _key(row), [row[name] for name in ("line", "right", "decision", "documents", "answer")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadEvaluationData(f"{path} is no report of `frontdesk eval --json`: {error!r}") from error
    return dict(report)


def compare(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Change]:
    """What changed between the rows of two reports; questions are known by their text and history."""
    before, now = _numbered(old), _numbered(new)
    changes = [_change(before[key], row) for key, row in now.items() if key in before]
    changes += [Change("new", row["line"], row["question"]) for key, row in now.items() if key not in before]
    changes += [Change("gone", row["line"], row["question"]) for key, row in before.items() if key not in now]
    return [change for change in changes if change is not None]


def _numbered(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], Mapping[str, Any]]:
    """The rows by question; one that is asked several times is counted through."""
    seen = Counter[str]()
    found = {}
    for row in rows:
        key = _key(row)
        seen[key] += 1
        found[key, seen[key]] = row
    return found


def _key(row: Mapping[str, Any]) -> str:
    return json.dumps([row["question"], row.get("history", [])], sort_keys=True)


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> Change | None:
    what = tuple(
        f"{name}: {_shown(old[name])} → {_shown(new[name])}"
        for name in ("decision", "documents", "answer")
        if old[name] != new[name]
    )
    if not what and old["right"] == new["right"]:
        return None
    kind = "changed" if old["right"] == new["right"] else "improved" if new["right"] else "worsened"
    return Change(kind, new["line"], new["question"], what or ("another expectation",))


def _shown(value: Any) -> str:
    text = " ".join(str(", ".join(value) if isinstance(value, list) else value).split()) or "–"
    return text if len(text) <= 80 else f"{text[:79]}…"
