"""One step's work as arrays: what the scheduler planned, laid out for the model."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import torch

from engine.generation.plan import Chunk
from engine.generation.sequence import Sequence

# Up to here every number of rows is taken as it is, beyond it only multiples.
_EXACT_ROWS, _ROWS_STEP = 32, 32


@dataclass(frozen=True, slots=True)
class Prefill:
    """Rows `[begin, end)` of the step are consecutive tokens of one sequence."""

    begin: int
    end: int
    cached: int
    """Tokens of the sequence that are in the cache before this step."""
    blocks: torch.Tensor
    """`[n]` int64: the sequence's blocks, enough for the tokens of this step too."""


@dataclass(frozen=True, slots=True)
class Step:
    """Single tokens first (decode), then the longer chunks (prefill), each a run of rows.

    Behind them may come rows of padding, which belong to nobody.
    """

    ids: torch.Tensor
    """`[1, rows]` int64."""
    positions: torch.Tensor
    """`[1, rows]` int64: positions in the text, which go on where the cache has dropped tokens."""
    slots: torch.Tensor
    """`[tokens]` int64: where each token's keys and values go, block * block size + offset."""
    rows: torch.Tensor
    """`[n]` int64: the rows whose logits are sampled."""
    sampled: list[Sequence]
    """Whose rows those are."""
    tables: torch.Tensor
    """`[decoding, blocks]` int32: block tables of the single tokens, padded with 0."""
    lengths: torch.Tensor
    """`[decoding]` int32: cached tokens of each, the step's own included."""
    prefills: list[Prefill]

    @property
    def num_decoding(self) -> int:
        return len(self.lengths)


def lay_out(chunks: Many[Chunk], block_size: int, *, is_padded: bool = False) -> Step:
    """Lay the chunks out. Sequences with one token to compute come first, whatever the plan's order.

    With `is_padded` there are few different numbers of rows: oneDNN makes and keeps machine code for each.
    """
    ordered = sorted(chunks, key=lambda chunk: chunk.count > 1)
    single = [chunk for chunk in ordered if chunk.count == 1]
    ids: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    rows: list[int] = []
    sampled: list[Sequence] = []
    prefills: list[Prefill] = []
    for chunk in ordered:
        sequence, begin = chunk.sequence, len(ids)
        ids += sequence.token_ids[chunk.start : chunk.start + chunk.count]
        positions += range(chunk.start, chunk.start + chunk.count)
        cached = chunk.start - sequence.num_dropped
        slots += [
            sequence.blocks[index // block_size] * block_size + index % block_size
            for index in range(cached, cached + chunk.count)
        ]
        if chunk.count > 1:
            needed = -(-(cached + chunk.count) // block_size)
            prefills.append(
                Prefill(begin, len(ids), cached, torch.tensor(sequence.blocks[:needed], dtype=torch.long))
            )
        if chunk.is_last:
            rows.append(len(ids) - 1)
            sampled.append(sequence)
    padding = [0] * (_padded(len(ids)) - len(ids) if is_padded else 0)
    return Step(
        ids=torch.tensor([ids + padding]),
        positions=torch.tensor([positions + padding]),
        slots=torch.tensor(slots),
        rows=torch.tensor(rows, dtype=torch.long),
        sampled=sampled,
        tables=_tables([chunk.sequence.blocks for chunk in single]),
        lengths=torch.tensor(
            [chunk.start + 1 - chunk.sequence.num_dropped for chunk in single], dtype=torch.int32
        ),
        prefills=prefills,
    )


def _padded(rows: int) -> int:
    return rows if rows <= _EXACT_ROWS else -(-rows // _ROWS_STEP) * _ROWS_STEP


def _tables(blocks: list[list[int]]) -> torch.Tensor:
    tables = np.zeros((len(blocks), max(map(len, blocks), default=0)), np.int32)
    for row, numbers in enumerate(blocks):
        tables[row, : len(numbers)] = numbers
    return torch.from_numpy(tables)
