"""Text from a model: our own loop on torch, or any OpenAI-compatible server.

`Generator` is all that the engine service knows of either.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.types import ChatTurn, FinishReason, Sampling, TokenLogprob, Usage


@dataclass(frozen=True, slots=True)
class TokenScore:
    """The log-probability of the token that was chosen, and the best ones as (token id, log-probability)."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The last thing that `Generator.generate` yields."""

    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each generated token, if the request asked for them."""


class Generator(Protocol):
    """What turns a conversation into a reply."""

    name: str
    context_length: int
    """Tokens of prompt and reply together."""
    tokenizer: Any
    """For counting and for windows; a fast tokenizer."""
    last_written: float
    """When a piece of text last came out, in seconds on the monotonic clock."""

    @property
    def is_alive(self) -> bool:
        """False when nothing can be generated any more before a restart."""
        ...

    def count(self, turns: Sequence[ChatTurn]) -> int:
        """Tokens of the prompt that these turns become."""
        ...

    def generate(
        self,
        turns: Sequence[ChatTurn],
        sampling: Sampling,
        deadline: float | None = None,
        conversation: str = "",
    ) -> AsyncGenerator[str | Ended, None]:
        """Yield pieces of text, then `Ended`. Closing the iterator stops the generation.

        What was computed for a `conversation` is used again in its later turns, and in no other one.
        Raises `Overloaded` when too many are waiting, `RemoteFailed` when a server breaks off.
        """
        ...

    async def close(self) -> None:
        """Let go of threads and connections."""
        ...


__all__ = ["Ended", "Generator", "TokenScore"]
