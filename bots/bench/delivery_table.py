"""The delivery benchmark for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bots.bench import delivery as part
from engine.bench.listing import machine_line, number
from engine.bench.row import Row

# The most, or with a minus the least, that is good enough; see README.
_TARGETS = {
    part.LATENCY_P50: 8.0,
    part.LATENCY_P99: 40.0,
    part.PROCESSOR: 1.5,
    part.THROUGHPUT: -400.0,
    part.IDLE_WRITES: 1.0,
    f"{part.IDLE_WRITES}_{part.WITH_CONVERSATIONS}": 1.0,
    part.SHARE: 10.0,
}
_LEGEND = (
    "An engine that answers at once; a Redis that appends every write to disk before it answers; a platform "
    "over HTTP on loopback. event to reply: all in one process, one message after the other. The rest: the "
    "worker in a process of its own, 200 conversations, beside Redis and whoever hands the messages in."
)


def render(about: Mapping[str, Any], rows: Sequence[Row]) -> RenderableType:
    """Everything that was measured, beside what it should be."""
    table = Table(box=None, pad_edge=False)
    table.add_column("delivery")
    table.add_column("", justify="right")
    table.add_column("")
    table.add_column("wanted", justify="right")
    for row in rows:
        table.add_row(row.metric.replace("_", " "), number(row.value), row.unit, _wanted(row.metric))
    parts: list[RenderableType] = [machine_line(about), table, Text(_LEGEND, style="dim")]
    return Group(*(line for each in parts for line in (each, Text())))


def _wanted(metric: str) -> str:
    target = _TARGETS.get(metric)
    if target is None:
        return ""
    return f"≤ {number(target)}" if target > 0 else f"≥ {number(-target)}"
