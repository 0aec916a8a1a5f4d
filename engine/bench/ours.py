"""Our own engine as a contestant: the generation loop without text and without HTTP."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import cast

import torch

from engine.bench.contestant import Workload
from engine.bench.run import Run
from engine.generation import TokenScore
from engine.generation.local import BatchLimits
from engine.generation.loop import start_loop
from engine.generation.model import Precision, load_model
from engine.generation.runner import make_runner
from engine.generation.sequence import Sequence
from engine.types import FinishReason, Sampling, Usage

_PATIENCE_SECONDS = 1800
# Cache blocks are not shared between prompts, so each may leave one partly used.
_SPARE_TOKENS = 256
# The number of tokens alone bounds the cache.
_NO_LIMIT_BYTES = 2**62


class Ours:
    """`GenerationLoop` on the model in one precision."""

    is_serial = False

    def __init__(self, precision: str) -> None:
        self._precision = precision

    def load(self, directory: Path, device: str, workload: Workload) -> None:
        """Start the loop with a cache that just holds the workload."""
        loaded = load_model(str(directory), torch.device(device), cast(Precision, self._precision))
        vocabulary = int(loaded.model.config.get_text_config().vocab_size)
        cache_tokens = workload.sequences * (workload.tokens + _SPARE_TOKENS)
        runner = make_runner(
            loaded, _NO_LIMIT_BYTES, cache_tokens, workload.sequences, BatchLimits().token_budget
        )
        self._loop = start_loop(
            runner,
            context_length=loaded.context_length,
            vocab_size=vocabulary,
            device=loaded.device,
            max_running=workload.sequences,
            max_waiting=workload.sequences,
            token_budget=BatchLimits().token_budget,
            reuse=workload.reuse,
        )

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Run:
        """Submit all at once and wait for the last."""
        recorders = [_Recorder() for _ in prompts]
        sampling = Sampling(max_tokens=new_tokens, ignore_eos=True)
        begun = time.perf_counter()
        for prompt, recorder in zip(prompts, recorders, strict=True):
            sequence = Sequence(
                prompt_ids=prompt, sampling=sampling, max_tokens=new_tokens, eos_ids=frozenset()
            )
            self._loop.submit(sequence, recorder)
        for recorder in recorders:
            recorder.wait()
        seconds = time.perf_counter() - begun
        times = [[moment - begun for moment in recorder.moments] for recorder in recorders]
        return Run.together(seconds, times, [recorder.token_ids for recorder in recorders])

    def close(self) -> None:
        """Stop the loop's thread."""
        self._loop.close()


class _Recorder:
    """A writer that notes when each token came."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.moments: list[float] = []
        self._done = threading.Event()
        self._error: Exception | None = None

    def write(self, token_id: int, score: TokenScore | None) -> bool:
        self.token_ids.append(token_id)
        self.moments.append(time.perf_counter())
        return False

    def end(self, reason: FinishReason, usage: Usage) -> None:
        self._done.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._done.set()

    def wait(self) -> None:
        """Raises what the generation failed with."""
        if not self._done.wait(_PATIENCE_SECONDS):
            raise TimeoutError(f"no end after {_PATIENCE_SECONDS} s")
        if self._error is not None:
            raise self._error
