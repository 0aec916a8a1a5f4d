"""transformers' `generate`: one prompt after the other, as the article does, and as one static batch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from engine.bench.contestant import Workload
from engine.bench.run import Run


class StaticBatch:
    """All prompts in one call, padded to one length by being of one length."""

    is_serial = False

    def __init__(self, precision: str) -> None:
        self._precision = precision

    def load(self, directory: Path, device: str, workload: Workload) -> None:
        """Read the weights in the contestant's precision."""
        self._model = load_weights(directory, device, self._precision)

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Run:
        """One call of `generate`; its streamer tells when each token came."""
        clock = _Clock()
        ids = torch.tensor(prompts, device=self._model.device)  # [prompts, length] int64
        begun = time.perf_counter()
        found = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
            streamer=clock,
        )
        token_ids = found[:, ids.shape[1] :].tolist()
        seconds = time.perf_counter() - begun
        moments = [moment - begun for moment in clock.moments]
        return Run.together(seconds, [list(moments) for _ in prompts], token_ids)

    def close(self) -> None:
        """Nothing runs on."""


class OneByOne:
    """A call for each prompt: the next waits until the one before it is done."""

    is_serial = True

    def __init__(self, precision: str) -> None:
        self._alone = StaticBatch(precision)

    def load(self, directory: Path, device: str, workload: Workload) -> None:
        """Read the weights in the contestant's precision."""
        self._alone.load(directory, device, workload)

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Run:
        """As many calls as prompts."""
        return Run.in_turn([self._alone.generate([prompt], new_tokens) for prompt in prompts])

    def close(self) -> None:
        """Nothing runs on."""


def load_weights(directory: Path, device: str, precision: str) -> Any:
    """The model, with no end of text: transformers then stops at the number of tokens alone."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, precision))
    model.generation_config.eos_token_id = None
    return model.to(device).eval()


class _Clock:
    """A streamer for any batch. What `generate` puts first is the prompt."""

    def __init__(self) -> None:
        self._puts: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self._puts.append(time.perf_counter())

    def end(self) -> None:
        """Every token has been put by now."""

    @property
    def moments(self) -> list[float]:
        return self._puts[1:]
