"""The search benchmark for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from engine.bench import knowledge_part as part
from engine.bench.listing import grid, machine_line, not_measured, number
from engine.bench.row import Row

# Column heads and the metrics below them.
_COLUMNS = {
    "build\ns": part.BUILD,
    "queries\n/s": part.QUERIES,
    "memory\nMB": part.MEMORY,
    "at most\nMB": part.PEAK,
    "build\n÷ bm25s": part.BUILD_SHARE,
    "query\n÷ bm25s": part.QUERY_SHARE,
    "build\n× 10": part.BUILD_GROWTH,
    "query\n× 10": part.QUERY_GROWTH,
}
_LEGEND = (
    "One thread, processor time, the best 10 of each query. memory: what the index holds; at most: while it "
    "is built. ÷ bm25s: times as long. × 10: times as long with ten times as many passages, 10 is linear."
)


def render(about: Mapping[str, Any], rows: Sequence[Row]) -> RenderableType:
    """Everything that was measured, and who could not be and why."""
    values = {row.metric: row.value for row in rows}
    count = int(values[part.PASSAGES] or 0)
    parts: list[RenderableType] = [
        machine_line(about),
        grid(f"{count:,} passages, {number(values[part.TEXT])} million characters", rows, _COLUMNS),
        *not_measured(rows),
        Text(_LEGEND, style="dim"),
    ]
    return Group(*(line for each in parts for line in (each, Text())))
