"""Figures as plain tables for people. Knows nothing of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from engine.bench.figures import CANNOT_RUN
from engine.bench.row import Row


def grid(title: str, rows: Sequence[Row], columns: Mapping[str, str]) -> Table:
    """One line a contestant that has figures; `columns` gives the metric below each head."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    for head in columns:
        table.add_column(head, justify="right", no_wrap=True)
    values = {(row.contestant, row.metric): row.value for row in rows}
    for contestant in dict.fromkeys(row.contestant for row in rows):
        cells = [number(values.get((contestant, metric))) for metric in columns.values()]
        if any(cells):
            table.add_row(contestant, *cells)
    return table


def not_measured(rows: Sequence[Row]) -> Iterator[Text]:
    """Who could not take part, and why."""
    for row in rows:
        if row.metric == CANNOT_RUN:
            yield Text(f"not measured: {', '.join(filter(None, (row.model, row.contestant)))}: {row.reason}")


def machine_line(about: Mapping[str, Any]) -> Text:
    """What was measured on, from `machine.describe`."""
    return Text(
        f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, "
        f"load before the start {about['load']:.1f}, {about['date']}"
    )


def number(value: float | None) -> str:
    """Three digits that mean something."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
