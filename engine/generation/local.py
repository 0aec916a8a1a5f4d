"""Our own generator: conversations in, streamed text out, one batch for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from engine.errors import ContextTooLong, Unavailable
from engine.generation import Ended
from engine.generation.detokeniser import Detokeniser
from engine.generation.loop import GenerationLoop
from engine.generation.model import LoadedModel
from engine.generation.sequence import Sequence as Generation
from engine.prompt import encode
from engine.types import ChatTurn, Sampling


class LocalGenerator:
    """Runs the loaded model on this machine."""

    def __init__(self, loaded: LoadedModel, *, max_batch: int = 16, max_waiting: int = 256) -> None:
        self.name, self.context_length = loaded.name, loaded.context_length
        self.tokenizer = loaded.tokenizer
        self.last_written = float("-inf")
        self._loaded = loaded
        self.loop = GenerationLoop(loaded, max_batch=max_batch, max_waiting=max_waiting)

    @property
    def is_alive(self) -> bool:
        """Whether the generation thread runs."""
        return self.loop.is_alive

    def count(self, turns: Sequence[ChatTurn]) -> int:
        """Tokens of the prompt that these turns become."""
        return len(encode(self.tokenizer, turns))

    async def generate(
        self, turns: Sequence[ChatTurn], sampling: Sampling, deadline: float | None = None
    ) -> AsyncGenerator[str | Ended, None]:
        """Yield pieces of text, then `Ended`. Closing the iterator stops the generation."""
        prompt_ids = encode(self.tokenizer, turns)
        room = self.context_length - len(prompt_ids)
        if room < 1:
            raise ContextTooLong(tokens=len(prompt_ids), limit=self.context_length - 1)
        generation = Generation(
            prompt_ids=prompt_ids,
            sampling=sampling,
            max_tokens=min(room, sampling.max_tokens or room),
            eos_ids=frozenset() if sampling.ignore_eos else self._loaded.eos_ids,
            detokeniser=Detokeniser(self.tokenizer, sampling.stop),
            outputs=asyncio.Queue(),
            loop=asyncio.get_running_loop(),
            deadline=deadline,
        )
        self.loop.submit(generation)
        try:
            while True:
                try:
                    async with asyncio.timeout_at(None if deadline is None else deadline + 1):
                        item = await generation.outputs.get()
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
