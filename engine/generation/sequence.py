"""One conversation's generation: its tokens, how to choose the next, and where its text goes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch

from engine.generation import Ended
from engine.generation.detokeniser import Detokeniser
from engine.types import FinishReason, Sampling, Usage


class SequenceStatus(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False, slots=True)
class Sequence:
    """Owned by the generation thread, but for `cancel`, which any thread may call."""

    prompt_ids: list[int]
    sampling: Sampling
    max_tokens: int
    eos_ids: frozenset[int]
    detokeniser: Detokeniser
    outputs: asyncio.Queue[str | Ended | Exception]
    loop: asyncio.AbstractEventLoop
    deadline: float | None = None
    status: SequenceStatus = SequenceStatus.WAITING
    token_ids: list[int] = field(default_factory=list)
    is_cancelled: bool = False
    random: torch.Generator | None = None

    def cancel(self) -> None:
        """Nobody wants the rest: the sequence leaves the batch before the next step."""
        self.is_cancelled = True

    @property
    def is_abandoned(self) -> bool:
        return self.is_cancelled or (self.deadline is not None and time.monotonic() > self.deadline)

    def append(self, token_id: int) -> None:
        """Take the next token: emit what it shows, finish if it is the last."""
        if token_id in self.eos_ids:
            self.finish("stop")
            return
        self.token_ids.append(token_id)
        text = self.detokeniser.feed(token_id)
        if text:
            self._emit(text)
        if self.detokeniser.is_stopped:
            self.finish("stop")
        elif len(self.token_ids) >= self.max_tokens:
            self.finish("length")

    def finish(self, reason: FinishReason) -> None:
        """Emit the rest and the end."""
        rest = self.detokeniser.close()
        if rest:
            self._emit(rest)
        self.status = SequenceStatus.FINISHED
        self._emit(Ended(reason, Usage(len(self.prompt_ids), len(self.token_ids))))

    def fail(self, error: Exception) -> None:
        """Tell the reader that this generation broke."""
        self.status = SequenceStatus.FINISHED
        self._emit(error)

    def _emit(self, item: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(self.outputs.put_nowait, item)
        except RuntimeError:  # the reader's event loop is closed: there is nobody to tell
            self.is_cancelled = True
