"""What one contestant did with one batch of prompts. Knows no torch and no process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """All times in seconds, `times` since the beginning: one list a prompt, one entry a token.

    Prefill ends when the last prompt has its first token; what was generated before that belongs to it.
    """

    seconds: float
    prefill_seconds: float
    decode_seconds: float
    decode_tokens: int
    times: list[list[float]]
    token_ids: list[list[int]]

    @classmethod
    def together(cls, seconds: float, times: list[list[float]], token_ids: list[list[int]]) -> Run:
        """The prompts were one batch."""
        prefill = max(each[0] for each in times)
        return cls(
            seconds=seconds,
            prefill_seconds=prefill,
            decode_seconds=max(each[-1] for each in times) - prefill,
            decode_tokens=sum(moment > prefill for each in times for moment in each),
            times=times,
            token_ids=token_ids,
        )

    @classmethod
    def in_turn(cls, runs: Sequence[Run]) -> Run:
        """One batch after the other, all of them asked for at the beginning."""
        times: list[list[float]] = []
        begun = 0.0
        for run in runs:
            times += [[begun + moment for moment in each] for each in run.times]
            begun += run.seconds
        return cls(
            seconds=begun,
            prefill_seconds=sum(run.prefill_seconds for run in runs),
            decode_seconds=sum(run.decode_seconds for run in runs),
            decode_tokens=sum(run.decode_tokens for run in runs),
            times=times,
            token_ids=[ids for run in runs for ids in run.token_ids],
        )

    @property
    def tokens(self) -> int:
        """Tokens generated."""
        return sum(map(len, self.token_ids))

    def to_json(self) -> dict[str, Any]:
        """As it travels between processes."""
        return asdict(self)
