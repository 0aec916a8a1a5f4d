"""A step's arrays in one piece of memory, so that they reach a device in one copy.

Decoding rows come first, then chunks, as `step` lays them out; here all of them become sequences of a batch
that is read through page tables. A batch may be larger than its step: what is left over computes nonsense in
a page that nobody owns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.generation.step import Step

_WORD = 8
"""Bytes: everything lies in 64-bit words, so that all of it is aligned."""


@dataclass(frozen=True, slots=True)
class BatchSize:
    """How much the arrays hold."""

    tokens: int
    rows: int
    """Rows whose logits are computed."""
    sequences: int
    pages: int
    """Pages a sequence, as wide as the page table is."""

    @classmethod
    def of(cls, step: Step) -> BatchSize:
        """Just enough for a step."""
        pages = max((len(prefill.blocks) for prefill in step.prefills), default=0)
        return cls(
            tokens=step.ids.shape[1],
            rows=len(step.rows),
            sequences=step.num_decoding + len(step.prefills),
            pages=max(step.tables.shape[1], pages),
        )

    @classmethod
    def decoding(cls, sequences: int, pages: int) -> BatchSize:
        """For single tokens of so many sequences."""
        return cls(tokens=sequences, rows=sequences, sequences=sequences, pages=pages)

    @property
    def num_words(self) -> int:
        """64-bit words of memory."""
        return sum(self.longs) + -(-sum(self.integers) * 4 // _WORD)

    @property
    def longs(self) -> list[int]:
        """Lengths of the int64 arrays, in their order in memory."""
        return [self.tokens, self.tokens, self.tokens, self.rows]

    @property
    def integers(self) -> list[int]:
        """Lengths of the int32 arrays, which come behind them."""
        return [self.sequences + 1, self.sequences + 1, self.sequences, self.sequences * self.pages]


@dataclass(frozen=True, slots=True)
class StepArrays:
    """Views of one piece of memory."""

    ids: torch.Tensor
    """`[1, tokens]` int64."""
    positions: torch.Tensor
    """`[1, tokens]` int64."""
    slots: torch.Tensor
    """`[tokens]` int64: page * page size + offset."""
    rows: torch.Tensor
    """`[rows]` int64."""
    query_starts: torch.Tensor
    """`[sequences + 1]` int32: where each sequence's tokens begin, and where the last ones end."""
    key_starts: torch.Tensor
    """`[sequences + 1]` int32: the same for their cached tokens, as if they lay side by side."""
    lengths: torch.Tensor
    """`[sequences]` int32: cached tokens of each, the step's own included."""
    tables: torch.Tensor
    """`[sequences, pages]` int32."""

    @classmethod
    def over(cls, memory: torch.Tensor, size: BatchSize) -> StepArrays:
        """Lay the arrays over the beginning of `memory`, `[at least size.num_words]` int64."""
        longs = sum(size.longs)
        ids, positions, slots, rows = torch.split(memory[:longs], size.longs)
        integers = memory[longs : size.num_words].view(torch.int32)[: sum(size.integers)]
        query_starts, key_starts, lengths, tables = torch.split(integers, size.integers)
        return cls(
            ids[None], positions[None], slots, rows, query_starts, key_starts, lengths,
            tables.view(size.sequences, size.pages),
        )  # fmt: skip

    def fill(self, step: Step, spare_page: int, page_tokens: int) -> None:
        """Write a step, and behind it sequences of one token whose only page is `spare_page`.

        Arrays that are larger than the step are for decoding only.
        """
        tokens, rows, decoding = step.ids.shape[1], len(step.rows), step.num_decoding
        padding = self.ids.shape[1] - tokens
        assert not (padding and step.prefills), "only steps of single tokens are padded"
        self.ids[0, :tokens], self.ids[0, tokens:] = step.ids[0], 0
        self.positions[0, :tokens], self.positions[0, tokens:] = step.positions[0], 0
        self.slots[:tokens] = step.slots
        # Any slot of the page would do; different ones are written without waiting for each other.
        self.slots[tokens:] = spare_page * page_tokens + torch.arange(padding) % page_tokens
        self.rows[:rows], self.rows[rows:] = step.rows, 0
        counts = torch.ones_like(self.lengths)
        self.lengths[:decoding], self.lengths[decoding:] = step.lengths, 1
        self.tables.fill_(spare_page)
        self.tables[:decoding, : step.tables.shape[1]] = step.tables
        for row, prefill in enumerate(step.prefills, decoding):
            counts[row] = prefill.end - prefill.begin
            self.lengths[row] = prefill.cached + counts[row]
            self.tables[row, : len(prefill.blocks)] = prefill.blocks
        for starts, sizes in ((self.query_starts, counts), (self.key_starts, self.lengths)):
            starts[0] = 0
            starts[1:] = sizes.cumsum(0)


def longest_query(step: Step) -> int:
    """Most tokens that the step computes for one sequence."""
    return max((prefill.end - prefill.begin for prefill in step.prefills), default=1)
