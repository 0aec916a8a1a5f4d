"""transformers' continuous batching, its manager kept between runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from engine.bench.contestant import Workload
from engine.bench.run import Run
from engine.bench.transformers_generate import load_weights

_PAGE_TOKENS = 256
_PATIENCE_SECONDS = 1800


class ContinuousBatching:
    """A `ContinuousBatchingManager` over SDPA, with its defaults but for the size of its cache."""

    is_serial = False

    def __init__(self, precision: str) -> None:
        self._precision = precision

    def load(self, directory: Path, device: str, workload: Workload) -> None:
        """Start the manager, after its own warm-up."""
        from transformers import ContinuousBatchingConfig, GenerationConfig

        model = load_weights(directory, device, self._precision)
        options: Any = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)  # type: ignore[no-untyped-call]
        blocks = 2 * workload.sequences * (1 + workload.tokens // _PAGE_TOKENS)
        self._manager: Any = model.init_continuous_batching(
            generation_config=options,
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=_PAGE_TOKENS,
                num_blocks=blocks,
                auto_switch_to_flash=False,
                allow_block_sharing=workload.reuse,
            ),
        )
        self._manager.warmup()
        self._manager.start()

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Run:
        """Add all requests at once and wait for the last result."""
        begun = time.perf_counter()
        names = self._manager.add_requests(prompts, max_new_tokens=new_tokens, record_timestamps=True)
        results: dict[str, Any] = {}
        while len(results) < len(names):
            result = self._manager.get_result(timeout=1)
            if result is not None and result.error:
                raise RuntimeError(result.error)
            if result is not None and result.is_finished():
                results[result.request_id] = result
            elif not self._manager.is_running() or time.perf_counter() - begun > _PATIENCE_SECONDS:
                raise RuntimeError("its generation thread ended or hangs")
        seconds = time.perf_counter() - begun
        times = [[moment - begun for moment in results[name].timestamps] for name in names]
        return Run.together(seconds, times, [list(results[name].generated_tokens) for name in names])

    def close(self) -> None:
        """Stop the manager's thread."""
        self._manager.stop(block=True, timeout=5)
        self._manager.destroy()
