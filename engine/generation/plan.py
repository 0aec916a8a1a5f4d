"""What the scheduler decides and the runner computes: the work of one step."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.generation.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens to compute in this step: `token_ids[start : start + count]` of the sequence."""

    sequence: Sequence
    start: int
    count: int

    @property
    def is_last(self) -> bool:
        """Whether the logits of the last row are sampled. Only true until the sampled token is appended."""
        return self.start + self.count == len(self.sequence.token_ids)


@dataclass(frozen=True, slots=True)
class Shift:
    """To be done before the step's chunks: copy the sinks' blocks, turn the copies' keys forward.

    `copies` are (source, target) block numbers, equal when the block is turned where it is. `by` is in
    positions. Shifts are done in the plan's order: a later target may be an earlier source.
    """

    sequence: Sequence
    copies: tuple[tuple[int, int], ...]
    by: int


@dataclass(slots=True)
class Plan:
    """One step: first all shifts, then all chunks, those of a single token before longer ones."""

    chunks: list[Chunk] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compute."""
        return not self.chunks

    def remove(self, sequence: Sequence) -> None:
        """Take back whatever was planned for a sequence."""
        self.chunks = [chunk for chunk in self.chunks if chunk.sequence is not sequence]
        self.shifts = [shift for shift in self.shifts if shift.sequence is not sequence]
