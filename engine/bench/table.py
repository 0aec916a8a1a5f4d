"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.bench import conversation, engine_part, figures, http_part, roster
from engine.bench.listing import grid, not_measured, number
from engine.bench.report import BANDWIDTH, Report
from engine.bench.row import Row

# Column heads and the metrics below them.
_COLUMNS = {
    "tokens\n/s": figures.THROUGHPUT,
    "decode\n/s": figures.DECODE,
    "prefill\n/s": figures.PREFILL,
    "first\nms": figures.FIRST_TOKEN,
    "p50\nms": figures.BETWEEN_P50,
    "p99\nms": figures.BETWEEN_P99,
    "% of\nlimit": figures.BANDWIDTH_SHARE,
}
_RATIOS = {
    "÷ CTranslate2": f"{figures.THROUGHPUT}_over_{roster.CTRANSLATE2}",
    "decode": f"{figures.DECODE}_over_{roster.CTRANSLATE2}",
    "÷ continuous": f"{figures.THROUGHPUT}_over_{roster.CONTINUOUS}",
    "decode ": f"{figures.DECODE}_over_{roster.CONTINUOUS}",
}
_LEGEND = """/s: tokens a second, with prefill, decoding alone, prefill alone. first: time to the first token.
p50, p99: time between tokens. % of limit: bytes of weights read a second, of the memory bandwidth.
÷: how many times as fast as the best CTranslate2 mode, and as transformers' continuous batching."""


def render(report: Report) -> RenderableType:
    """Everything that was measured, and who could not be and why."""
    parts: list[RenderableType] = [
        Text(_machine(report)),
        *_tables(report.rows),
        *not_measured(report.rows),
        Text(_LEGEND, style="dim"),
    ]
    return Group(*(line for part in parts for line in (part, Text())))


def _tables(rows: Sequence[Row]) -> Iterator[Table]:
    measured = [
        replace(row, contestant=row.contestant.replace("transformers-", "HF "))
        for row in rows
        if row.part == engine_part.PART
    ]
    for model in dict.fromkeys(row.model for row in measured):
        ours = [row for row in measured if row.model == model]
        for concurrency in dict.fromkeys(row.concurrency for row in ours if row.concurrency is not None):
            here = [row for row in ours if row.concurrency == concurrency]
            yield grid(f"{model}, {concurrency} at a time", here, _COLUMNS)
            ratios = [row for row in here if row.metric in _RATIOS.values()]
            if ratios:
                yield grid(f"{model}, {concurrency} at a time: times as fast", ratios, _RATIOS)
        if memory := [row for row in ours if row.metric == figures.PEAK_MEMORY]:
            yield grid(f"{model}: memory", memory, {"peak MB": figures.PEAK_MEMORY})
    for part in (conversation.PART, http_part.PART):
        if found := [row for row in rows if row.part == part and row.value is not None]:
            yield _list(part, found)


def _list(title: str, rows: Sequence[Row]) -> Table:
    """One line a figure."""
    table = Table(title=f"{rows[0].model}: {title}", title_justify="left", box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for row in rows:
        table.add_row(row.metric, number(row.value), row.unit)
    return table


def _machine(report: Report) -> str:
    about: dict[str, Any] = report.machine
    limit = next(row for row in report.rows if row.metric == BANDWIDTH)
    way = dict(limit.extras)["best_way"]
    lines = [
        f"{about['cpu']}, {about['cores']} cores, {' '.join(about['flags'])}",
        f"torch {about['torch']}, transformers {about['transformers']}, ctranslate2 {about['ctranslate2']}, "
        f"{about['date']}",
        f"load before the start {about['load']:.1f}, "
        f"memory bandwidth {number(limit.value)} {limit.unit} ({way})",
    ]
    return "\n".join([*([about["gpu"]] if about["gpu"] else []), *lines])
