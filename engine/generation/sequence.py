"""One generation: its tokens, how far they are computed, and where in the cache they lie.

Knows nothing of text, tensors or threads, and does not decide anything: the scheduler moves it about.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum

from engine.types import FinishReason, Sampling


class SequenceStatus(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False, slots=True)
class Sequence:
    """Owned by the generation thread, but for `cancel`, which any thread may call.

    The token at `token_ids[i]` lies at cache index `i - num_dropped`, or at `i` when it is a sink (in the
    first block). Cache index `c` lies in `blocks[c // block_size]`.
    """

    prompt_ids: list[int]
    sampling: Sampling
    max_tokens: int
    """Most tokens to generate."""
    eos_ids: frozenset[int] = frozenset()
    """Empty when the end token is ignored."""
    tenant: str = ""
    """Salt of the prefix cache: cached prompts are shared only within a tenant."""
    conversation: str = ""
    """For fairness. Empty: a conversation of its own."""
    deadline: float | None = None
    """Seconds on the monotonic clock."""

    status: SequenceStatus = SequenceStatus.WAITING
    finish_reason: FinishReason | None = None
    token_ids: list[int] = field(init=False)
    """Prompt and generated."""
    num_computed: int = 0
    """Leading tokens whose keys and values are in the cache, or were until they were dropped."""
    num_reused: int = 0
    """Tokens of the prompt that were in the prefix cache when the sequence was first admitted."""
    num_dropped: int = 0
    """Tokens dropped between the sinks and the window."""
    blocks: list[int] = field(default_factory=list)
    num_preemptions: int = 0
    is_cancelled: bool = False

    def __post_init__(self) -> None:
        self.token_ids = list(self.prompt_ids)

    @property
    def num_prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.prompt_ids)

    @property
    def num_generated(self) -> int:
        """Tokens generated so far."""
        return len(self.token_ids) - len(self.prompt_ids)

    @property
    def generated_ids(self) -> list[int]:
        """The generated tokens, as a new list."""
        return self.token_ids[len(self.prompt_ids) :]

    @property
    def num_cached(self) -> int:
        """Length of the sequence's cache in tokens."""
        return self.num_computed - self.num_dropped

    @property
    def is_abandoned(self) -> bool:
        """Cancelled or past its deadline: nobody reads on."""
        return self.is_cancelled or (self.deadline is not None and time.monotonic() > self.deadline)

    def append(self, token_id: int) -> None:
        """Take a sampled token; set `finish_reason` when it is the last. An end token is not kept."""
        assert self.finish_reason is None, "a finished sequence takes no tokens"
        if token_id in self.eos_ids:
            self.finish_reason = "stop"
            return
        self.token_ids.append(token_id)
        if self.num_generated >= self.max_tokens:
            self.finish_reason = "length"

    def cancel(self) -> None:
        """Nobody wants the rest: the sequence leaves the batch before the next step."""
        self.is_cancelled = True
