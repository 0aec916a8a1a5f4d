"""Our own generator: conversations in, streamed text out, one batch for all."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from engine.errors import ContextTooLong, Unavailable
from engine.generation import Ended
from engine.generation.detokeniser import Detokeniser
from engine.generation.loop import start_loop
from engine.generation.model import LoadedModel
from engine.generation.runner import make_runner
from engine.generation.sequence import Sequence as Generation
from engine.generation.writer import TextWriter
from engine.log import logger
from engine.prompt import encode
from engine.types import ChatTurn, Sampling

log = logger("engine.generation")

# Contexts that the cache is made for at most: a small model needs no gigabyte.
_MOST_CONTEXTS = 64
# Seconds past a deadline before the reader stops waiting for the generation thread to say so.
_GRACE_SECONDS = 1


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much is computed at a time, and how much may wait."""

    max_running: int = 32
    max_waiting: int = 256
    token_budget: int = 512
    """Tokens a step: more answers a prompt sooner, less keeps running answers flowing."""
    cache_bytes: int | None = None
    """Without it 1 GiB on a CPU, nine tenths of what is free on a GPU."""
    reuse: bool = True
    """Whether prompts that begin alike are computed once."""


class LocalGenerator:
    """Runs the loaded model on this machine."""

    def __init__(self, loaded: LoadedModel, limits: BatchLimits = BatchLimits()) -> None:
        """Takes the model's weights over: `loaded.model` cannot be used for anything else afterwards.

        Raises `ModelUnusable` for an architecture that cannot be run here.
        """
        self.name, self.tokenizer = loaded.name, loaded.tokenizer
        self.last_written = float("-inf")
        self._eos_ids = loaded.eos_ids
        vocab_size = loaded.model.config.get_text_config().vocab_size
        runner = make_runner(
            loaded,
            limits.cache_bytes,
            _MOST_CONTEXTS * loaded.context_length,
            limits.max_running,
            limits.token_budget,
        )
        cache = runner.cache
        self.context_length = min(loaded.context_length, cache.num_tokens)
        if self.context_length < loaded.context_length:
            log.warning(
                f"the key/value cache holds {cache.num_tokens} tokens, less than the model's context of "
                f"{loaded.context_length}: longer conversations are cut. Raise FRONTDESK_CACHE_MB."
            )
        log.info(
            f"model {self.name} in {loaded.precision} on {loaded.device.type}, key/value cache of "
            f"{cache.num_bytes / 2**20:.0f} MB for {cache.num_tokens} tokens in blocks of {cache.block_size}"
        )
        self.loop = start_loop(
            runner,
            context_length=self.context_length,
            vocab_size=vocab_size,
            device=loaded.device,
            max_running=limits.max_running,
            max_waiting=limits.max_waiting,
            token_budget=limits.token_budget,
            reuse=limits.reuse,
        )

    @property
    def is_alive(self) -> bool:
        """Whether the generation thread runs."""
        return self.loop.is_alive

    def count(self, turns: Sequence[ChatTurn]) -> int:
        """Tokens of the prompt that these turns become."""
        return len(encode(self.tokenizer, turns))

    async def generate(
        self,
        turns: Sequence[ChatTurn],
        sampling: Sampling,
        deadline: float | None = None,
        conversation: str = "",
    ) -> AsyncGenerator[str | Ended, None]:
        """Yield pieces of text, then `Ended`. Closing the iterator stops the generation.

        Without `max_tokens` the answer ends with the model's context at the latest.
        """
        prompt_ids = encode(self.tokenizer, turns)
        room = self.context_length - len(prompt_ids)
        if room < 1:
            raise ContextTooLong(tokens=len(prompt_ids), limit=self.context_length - 1)
        generation = Generation(
            prompt_ids=prompt_ids,
            sampling=sampling,
            max_tokens=sampling.max_tokens or room,
            eos_ids=frozenset() if sampling.ignore_eos else self._eos_ids,
            # Who names no conversation shares nothing: it could be anybody.
            tenant=conversation or secrets.token_hex(8),
            conversation=conversation,
            deadline=deadline,
        )
        writer = TextWriter(Detokeniser(self.tokenizer, sampling.stop), self.loop.post)
        self.loop.submit(generation, writer)
        try:
            while True:
                try:
                    async with asyncio.timeout_at(None if deadline is None else deadline + _GRACE_SECONDS):
                        item = await writer.items.get()
                except TimeoutError as error:
                    raise Unavailable("The answer took too long.") from error
                if isinstance(item, Exception):
                    raise item
                self.last_written = time.monotonic()
                yield item
                if isinstance(item, Ended):
                    return
        finally:
            generation.cancel()

    async def close(self) -> None:
        """Stop the generation thread."""
        await asyncio.to_thread(self.loop.close)
