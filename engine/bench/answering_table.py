"""The answering benchmark for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.bench.listing import machine_line, not_measured
from engine.bench.row import Row

_LEGEND = """±: the 95 % interval. MiniLM: cosine to the nearest question, or to question and answer. BM25:
both. In conversations they read the last two turns as well. AUROC: of the confidence, known against unknown
questions. answered: of the known. fitted threshold: to the other half of the questions. calibrated: to the
entries alone. times: as fast or as long as others, in processor time. answer
inside: of the windows chosen within the budget, 4 characters a token."""


def render(about: Mapping[str, Any], rows: Sequence[Row]) -> RenderableType:
    """One line a figure, and what could not be measured and why."""
    table = Table(box=None, pad_edge=False)
    for head in ("task", "figure", "who"):
        table.add_column(head)
    for head in ("value", "±", "of", "to reach"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        if row.value is not None:
            extras = dict(row.extras)
            interval = f"{extras['low']:.3f} to {extras['high']:.3f}" if "low" in extras else ""
            target = f"{extras['target']:.3f}" if "target" in extras else ""
            counted = f"{extras['count']:,}" if "count" in extras else ""
            table.add_row(
                row.model, row.metric, row.contestant, f"{row.value:.3f}", interval, counted, target
            )
    parts: list[RenderableType] = [
        machine_line(about),
        table,
        *not_measured(rows),
        Text(_LEGEND, style="dim"),
    ]
    return Group(*(line for each in parts for line in (each, Text())))
