"""Runs the model for a step on a GPU: transformers' own forward pass over a cache in pages.

A token's keys and values are scattered into its page; attention then reads every sequence through its page
table, whether it decodes or prefills. Nothing within a step waits for the device. Steps of single tokens are
replayed as CUDA graphs, all others run as they are.

Attention is never split along the keys (`num_splits=1`): a split depends on how long the other sequences are,
and with it the order of summation, so that a neighbour could change somebody's text; besides, FlashAttention
2 was reported to combine the parts wrongly for batches like ours (Dao-AILab/flash-attention, issue 1217). It
costs speed where few long sequences decode. Matrix products are cuBLAS's, which may choose another kernel,
and so another last bit, for another number of rows.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.generation.arrays import BatchSize, StepArrays, longest_query
from engine.generation.cache import CacheShape, KVCache
from engine.generation.cuda_graphs import CudaCapture, DecodeGraphs, graph_sizes, written
from engine.generation.flash import PAGE_TOKENS, VarlenAttention, attend_plainly, choose_attention
from engine.generation.interface import take_attention
from engine.generation.model import LoadedModel
from engine.generation.plan import Chunk, Plan
from engine.generation.sequence import Sequence
from engine.generation.sinks import SinkTurner
from engine.generation.step import Step, lay_out
from engine.log import logger
from engine.types import Sampling

log = logger("engine.generation")

# Of the memory that is free; the rest is for graphs, the sampler and what does not fit together.
_CACHE_PART = 0.9
# Without a GPU there is nothing to measure.
_HOST_CACHE_BYTES = 2**28


class PagedCache(KVCache):
    """A cache as FlashAttention pages it, on whatever device, with one page more than it tells of.

    Keys and values are `[pages, tokens, kv_heads, width]`.
    """

    width_dim = 2

    def __init__(self, shape: CacheShape, pages: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.num_blocks, self.block_size = shape, pages, PAGE_TOKENS
        pool = (pages + 1, PAGE_TOKENS, shape.kv_heads, shape.width)
        self.keys = [torch.zeros(pool, dtype=dtype, device=device) for _ in range(shape.layers)]
        self.values = [torch.zeros(pool, dtype=dtype, device=device) for _ in range(shape.layers)]

    @property
    def spare_page(self) -> int:
        """The page that no sequence is given: rows of padding write there."""
        return self.num_blocks


def num_pages(shape: CacheShape, dtype: torch.dtype, cache_bytes: int, max_tokens: int) -> int:
    """Pages that fit `cache_bytes` beside the spare one; at least one, and none beyond `max_tokens`."""
    fitting = cache_bytes // (shape.token_bytes(dtype) * PAGE_TOKENS) - 1
    return max(1, min(fitting, -(-max_tokens // PAGE_TOKENS)))


class PagedForward:
    """The model's forward pass over the arrays of a step. Not thread-safe."""

    def __init__(self, model: Any, cache: KVCache, attention: VarlenAttention) -> None:
        """`model` has had its attention taken (`interface.take_attention`)."""
        self._model, self._attention = model, attention
        self._keys, self._values = cache.keys, cache.values
        # The same for every step, or a step's longest sequence would choose the kernel for the others.
        self._most_keys = cache.num_tokens

    def __call__(self, arrays: StepArrays, longest: int) -> torch.Tensor:
        """Logits `[rows, vocab]`. `longest` in tokens: most that are computed for one sequence."""
        self._arrays, self._longest = arrays, longest
        logits: torch.Tensor = self._model(
            input_ids=arrays.ids,
            position_ids=arrays.positions,
            use_cache=False,
            logits_to_keep=arrays.rows,
            attend=self._attend,
        ).logits
        return logits[0]

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layer: int,
        scale: float,
        window: int,
    ) -> torch.Tensor:
        """Keep the step's keys and values, then attend: what `take_attention` asks for."""
        arrays, keys, values = self._arrays, self._keys[layer], self._values[layer]
        keys.flatten(0, 1).index_copy_(0, arrays.slots, key[0].transpose(0, 1))
        values.flatten(0, 1).index_copy_(0, arrays.slots, value[0].transpose(0, 1))
        attended = self._attention(
            query[0].transpose(0, 1),  # [tokens, heads, width]
            keys,
            values,
            arrays.query_starts,
            arrays.key_starts,
            self._longest,
            self._most_keys,
            scale=scale,
            window_size=(window - 1 if window else -1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
            seqused_k=arrays.lengths,
            block_table=arrays.tables,
            num_splits=1,
        )
        return attended[None]


class CudaRunner:
    """`runner.Runner` for a GPU. On a CPU it runs as well, slowly: that is for tests."""

    def __init__(
        self,
        loaded: LoadedModel,
        cache_bytes: int | None,
        max_tokens: int,
        max_running: int = 64,
        token_budget: int = 512,
    ) -> None:
        """Takes the model's weights over.

        Parameters:
            cache_bytes: for the cache; without it nine tenths of what is free once the weights are loaded
                and the largest step was computed.
            max_tokens: the cache never has room for more.
            max_running: most sequences in a step; so many decode in a graph.
            token_budget: most tokens in a step.
        """
        model, self._device = loaded.model, loaded.device
        take_attention(model)
        shape, dtype = CacheShape.of(model.config), next(model.parameters()).dtype
        heads = model.config.get_text_config().num_attention_heads
        attention = choose_attention(self._device, dtype, heads, shape)
        if not cache_bytes:
            cache_bytes = _bytes_to_use(
                model,
                attention,
                shape,
                dtype,
                self._device,
                max_running,
                min(token_budget, loaded.context_length),
            )
        pages = num_pages(shape, dtype, cache_bytes, max_tokens)
        self.cache = self._pages = PagedCache(shape, pages, dtype, self._device)
        self._turner = SinkTurner.of(model, self.cache)
        self.can_slide = self._turner is not None
        self._forward = PagedForward(model, self.cache, attention)
        self._graphs = None
        if attention is not attend_plainly:
            most_pages = min(pages, -(-loaded.context_length // PAGE_TOKENS))
            self._graphs = _record(self._forward, self._pages, max_running, most_pages, self._device)

    @torch.inference_mode()
    def run(self, plan: Plan) -> tuple[list[Sequence], torch.Tensor]:
        """See `runner.Runner.run`. The logits are overwritten by the next run."""
        if self._turner is not None:
            self._turner.carry_out(plan.shifts)
        step = lay_out(plan.chunks, PAGE_TOKENS)
        size = self._graphs.size_for(step) if self._graphs else None
        if self._graphs and size:
            return step.sampled, self._graphs.replay(step, size)
        return step.sampled, _compute(self._forward, step, self._pages.spare_page, self._device)


def _compute(forward: PagedForward, step: Step, spare_page: int, device: torch.device) -> torch.Tensor:
    """A step without a graph."""
    size = BatchSize.of(step)
    memory = written(step, size, spare_page, PAGE_TOKENS, device).to(device, non_blocking=True)
    return forward(StepArrays.over(memory, size), longest_query(step))


@torch.inference_mode()
def _record(
    forward: PagedForward, cache: PagedCache, max_running: int, pages: int, device: torch.device
) -> DecodeGraphs | None:
    """Graphs for decoding; None, with a warning, when the model cannot be recorded."""
    try:
        return DecodeGraphs(
            forward,
            CudaCapture(device),
            sizes=graph_sizes(max_running),
            pages=pages,
            spare_page=cache.spare_page,
            page_tokens=PAGE_TOKENS,
            device=device,
        )
    except RuntimeError as error:
        torch.cuda.synchronize(device)  # raises again if it is the GPU that is broken
        reason = str(error).splitlines()[0]
        log.warning(f"decoding runs without CUDA graphs, more slowly: they could not be recorded ({reason})")
        return None


def _bytes_to_use(
    model: Any,
    attention: VarlenAttention,
    shape: CacheShape,
    dtype: torch.dtype,
    device: torch.device,
    max_running: int,
    token_budget: int,
) -> int:
    """Bytes that the cache may take, known after computing the largest step there can be.

    What that step took stays with torch's allocator, so it no longer counts as free.
    """
    if device.type != "cuda":
        return _HOST_CACHE_BYTES
    pages = -(-token_budget // PAGE_TOKENS)
    cache = PagedCache(shape, pages, dtype, device)
    with torch.inference_mode():
        step = _largest_step(pages, max_running, token_budget)
        _compute(PagedForward(model, cache, attention), step, cache.spare_page, device)
    torch.cuda.synchronize(device)
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * _CACHE_PART)


def _largest_step(pages: int, max_running: int, token_budget: int) -> Step:
    """One prompt that takes the whole budget, sampled in as many rows as there may be."""
    sequence = Sequence([0] * token_budget, Sampling(), max_tokens=1)
    sequence.blocks = list(range(pages))
    step = lay_out([Chunk(sequence, 0, token_budget)], PAGE_TOKENS)
    step.rows.resize_(min(max_running, token_budget)).zero_()
    return step
