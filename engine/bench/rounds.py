"""Interleaved repeats: each contestant once, then all again, so that noise hits all alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from engine.bench.contestant import CannotRun
from engine.bench.run import Run

# Contestants that take one prompt after the other are timed on this many: more only take longer.
SERIAL_PROMPTS = 8
_WARM_TOKENS = 4
# Threads of the one before spin for a fifth of a second after their work.
_PAUSE_SECONDS = 0.3


class Worker(Protocol):
    """A contestant in its process."""

    @property
    def is_serial(self) -> bool: ...

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Run: ...


def random_prompts(label: str, count: int, length: int, vocabulary: int) -> list[list[int]]:
    """Token ids that depend on the label alone; never the end of text, which is 0."""
    source = random.Random(label)
    return [[source.randrange(1, vocabulary) for _ in range(length)] for _ in range(count)]


def interleave(
    workers: Mapping[str, Worker],
    prompts_for: Callable[[str], list[list[int]]],
    new_tokens: int,
    repeats: int,
    say: Callable[[str], None],
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """The runs of each worker, and of those that broke the reason.

    `prompts_for` gives other prompts for each repeat, so that no cache knows them, and the same ones to
    all. The first run of each, of few tokens, is not counted.
    """
    runs: dict[str, list[Run]] = {name: [] for name in workers}
    broken: dict[str, str] = {}
    for repeat in range(-1, repeats):
        label = f"repeat {repeat + 1}" if repeat >= 0 else "warm-up"
        prompts, wanted = prompts_for(label), new_tokens if repeat >= 0 else min(_WARM_TOKENS, new_tokens)
        for name, worker in workers.items():
            if name in broken:
                continue
            time.sleep(_PAUSE_SECONDS)
            try:
                run = worker.generate(prompts[:SERIAL_PROMPTS] if worker.is_serial else prompts, wanted)
            except CannotRun as reason:
                broken[name] = str(reason)
                del runs[name]
                continue
            if repeat >= 0:
                runs[name].append(run)
                say(f"  {label}  {name}  {run.tokens / run.seconds:.1f} tokens/s")
    return runs, broken
