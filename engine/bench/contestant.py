"""What the benchmark asks of an engine, ours or another's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.bench.run import Run


class CannotRun(Exception):
    """The contestant cannot run here; the message says why, and becomes a row of the report."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The most that a contestant will be asked for at once, so that it can size its cache."""

    sequences: int
    tokens: int
    """Of one sequence, prompt and answer together."""
    reuse: bool = True
    """Whether a prefix that was computed before may be used again."""


class Contestant(Protocol):
    """An engine with a loaded model. Greedy; the end of text is ignored, so that all do the same work."""

    is_serial: bool
    """It takes one prompt after the other."""

    def load(self, directory: Path, device: str, workload: Workload) -> None:
        """Load the model and warm up. Raises `CannotRun`."""
        ...

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Run:
        """Continue every prompt by exactly `new_tokens` tokens."""
        ...

    def close(self) -> None:
        """Let go of threads."""
        ...
