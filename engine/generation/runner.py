"""Runs the model for a step: tokens in, logits out. Decides nothing."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from engine.cores import aside, use_all_cores, use_one_core
from engine.errors import ModelUnusable
from engine.generation.attention import PagedAttention
from engine.generation.cache import CacheShape, KVCache
from engine.generation.graph import Program, compile_forward
from engine.generation.host_memory import tidy
from engine.generation.interface import take_attention
from engine.generation.kernels import kernels_for
from engine.generation.linear import IntegerLinear, MakeLinear, PackedLinear
from engine.generation.model import LoadedModel
from engine.generation.plan import Plan
from engine.generation.sequence import Sequence
from engine.generation.sinks import SinkTurner
from engine.generation.step import lay_out
from engine.generation.vectors import BLOCK_TOKENS

_CACHE_BYTES = 2**30


class Runner(Protocol):
    """The model on its device, with its cache."""

    can_slide: bool
    """Whether a conversation may outgrow the context: `sinks`."""

    @property
    def cache(self) -> KVCache:
        """Where keys and values are kept."""
        ...

    def run(self, plan: Plan) -> tuple[list[Sequence], torch.Tensor]:
        """Compute the plan's chunks: whose next token can be sampled, and their logits `[n, vocab]`.

        Shifts are taken off the plan as they are done. Computing the same chunks again gives the same, so
        what failed half-way may be run again.
        """
        ...


class CpuRunner:
    """The traced model over packed weights."""

    def __init__(self, loaded: LoadedModel, cache_bytes: int | None, max_tokens: int) -> None:
        """Takes the model's weights over. The cache gets `cache_bytes` (1 GiB if not said), but no more than
        `max_tokens`."""
        use_one_core()
        model, config = loaded.model, loaded.model.config
        take_attention(model)
        shape = CacheShape.of(config)
        dtype = next(model.parameters()).dtype
        blocks = num_blocks(shape, dtype, cache_bytes or _CACHE_BYTES, max_tokens, BLOCK_TOKENS)
        self.cache = KVCache(shape, blocks, dtype)
        self._turner = SinkTurner.of(model, self.cache)
        self.can_slide = self._turner is not None
        self._attention = PagedAttention(self.cache, config.get_text_config().num_attention_heads)
        make_linear = IntegerLinear if loaded.precision == "int8" else PackedLinear
        kernels_for(dtype)  # compiled now, not while the first customer waits
        self._program = _compile(model, self._attention, make_linear)
        tidy()

    def run(self, plan: Plan) -> tuple[list[Sequence], torch.Tensor]:
        """See `Runner.run`. To be called from one thread, which has all cores from then on."""
        use_all_cores()
        if self._turner is not None:
            self._turner.carry_out(plan.shifts)
        step = lay_out(plan.chunks, self.cache.block_size, is_padded=True)
        self._attention.begin(step)
        return step.sampled, self._program(step.ids, step.positions, step.rows)


def _compile(model: Any, attention: PagedAttention, make_linear: MakeLinear) -> Program:
    try:
        return aside(compile_forward, model, attention, make_linear)
    except ModelUnusable:
        raise
    except Exception as error:  # whatever tracing trips over
        raise ModelUnusable(
            f"model: the forward pass of {type(model).__name__} cannot be traced on a CPU "
            f"({str(error).splitlines()[0]}). Serve it elsewhere and set FRONTDESK_GENERATOR=remote."
        ) from error


def num_blocks(
    shape: CacheShape, dtype: torch.dtype, cache_bytes: int, max_tokens: int, block_tokens: int
) -> int:
    """Blocks that fit `cache_bytes`; at least one, and none beyond `max_tokens`."""
    fitting = cache_bytes // (shape.token_bytes(dtype) * block_tokens)
    return max(1, min(fitting, -(-max_tokens // block_tokens)))


def make_runner(
    loaded: LoadedModel, cache_bytes: int | None, max_tokens: int, max_running: int, token_budget: int
) -> Runner:
    """The runner for the model's device."""
    if loaded.device.type == "cpu":
        return CpuRunner(loaded, cache_bytes, max_tokens)
    from engine.generation.cuda import CudaRunner

    return CudaRunner(loaded, cache_bytes, max_tokens, max_running, token_budget)


__all__ = ["CpuRunner", "Runner", "make_runner", "num_blocks"]
