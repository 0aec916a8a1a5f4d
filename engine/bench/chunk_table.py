"""The chunker benchmark for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from engine.bench import chunk_part as part
from engine.bench.listing import grid, machine_line, not_measured, number
from engine.bench.row import Row

# Column heads and the metrics below them.
_COLUMNS = {
    "MB/s": part.SPEED,
    "÷\nHF": part.OVER_TOKENIZERS,
    "÷\ntiktoken": part.OVER_TIKTOKEN,
    "chunks": part.CHUNKS,
    "over\nbudget": part.OVER,
    "most": part.LARGEST,
    "wrong\nstart": part.WRONG,
    "lost\nchars": part.LOST,
}
_LEGEND = (
    "Processor time. ÷: of the speed of encoding alone, by tokenizers (HF) and by tiktoken. over budget: "
    "chunks with too many tokens when they are encoded again; most: of one chunk. wrong start: missing, or "
    "of another text. lost: characters that are not white space."
)


def render(about: Mapping[str, Any], rows: Sequence[Row], size: int, overlap: int) -> RenderableType:
    """Everything that was measured, and who could not be and why."""
    values = {row.metric: row.value for row in rows}
    text = (
        f"{number(values[part.PAGES])} pages, {number(values[part.TEXT])} MB, chunks of {size} tokens, "
        f"overlap {overlap}, byte-level BPE of {number(values[part.VOCABULARY])} tokens"
    )
    parts: list[RenderableType] = [
        machine_line(about),
        grid(text, rows, _COLUMNS),
        *not_measured(rows),
        Text(_LEGEND, style="dim"),
    ]
    return Group(*(line for each in parts for line in (each, Text())))
