"""Attention over the paged cache on a CPU: single tokens by our kernel, longer chunks by torch's own."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from engine.errors import ModelUnusable
from engine.generation.cache import KVCache
from engine.generation.kernels import float_bits, kernels_for
from engine.generation.step import Prefill, Step


class PagedAttention:
    """`graph.Attention` for the step that was begun last. Not thread-safe: one a generation loop."""

    def __init__(self, cache: KVCache, heads: int) -> None:
        self._cache, self._heads = cache, heads
        self._masks: dict[tuple[int, int], torch.Tensor | None] = {}

    def check(self, query: torch.Tensor, key: torch.Tensor) -> None:
        """See `graph.Attention.check`."""
        shape = self._cache.shape
        expected = (self._heads, shape.kv_heads, shape.width, self._cache.values[0].dtype)
        found = (query.shape[1], key.shape[1], key.shape[3], key.dtype)
        if found != expected or query.shape[3] != shape.width or query.dtype != key.dtype:
            raise ModelUnusable(
                f"model: its layers differ from one another (heads, width, type: {found}, not {expected}), "
                "which cannot run here yet"
            )

    def begin(self, step: Step) -> None:
        """Attend for this step from now on."""
        self._step = step
        self._masks.clear()

    def __call__(
        self, rows: torch.Tensor, starts: tuple[int, int, int], layer: int, scale: float, window: int
    ) -> torch.Tensor:
        """Keep the step's keys and values, then attend: `[1, tokens, heads * width]`.

        softmax(scale * Q Kᵀ) V (Vaswani et al. 2017), each token seeing its sequence up to itself, of that
        the newest `window` tokens when that is not 0.
        """
        cache, step = self._cache, self._step
        kv_heads, width = cache.shape.kv_heads, cache.shape.width
        tokens, stride = len(step.slots), rows.shape[-1]
        pool, kernels = cache.pools[layer].data_ptr(), kernels_for(rows.dtype)
        query, key, value = (rows.data_ptr() + start * rows.element_size() for start in starts)
        out = rows.new_empty(1, rows.shape[1], self._heads * width)
        out[:, tokens:] = 0
        kernels.keep(
            2 * tokens * kv_heads * width, key, value, pool, step.slots.data_ptr(),
            tokens, kv_heads, width, cache.block_size, stride, cache.num_blocks,
        )  # fmt: skip
        if decoding := step.num_decoding:
            longest = step.tables.shape[1] * cache.block_size
            kernels.attend(
                decoding * longest * self._heads * width, query, stride, pool,
                out.data_ptr(), step.tables.data_ptr(), step.lengths.data_ptr(), decoding, self._heads,
                kv_heads, width, cache.block_size, step.tables.shape[1], float_bits(scale), window,
                cache.num_blocks,
            )  # fmt: skip
        for prefill in step.prefills:
            self._prefill(prefill, rows[0], starts, layer, scale, window, out)
        return out

    def _prefill(
        self,
        prefill: Prefill,
        rows: torch.Tensor,
        starts: tuple[int, int, int],
        layer: int,
        scale: float,
        window: int,
        out: torch.Tensor,
    ) -> None:
        chunk = rows[prefill.begin : prefill.end]
        count, width = len(chunk), self._cache.shape.width
        query = _heads(chunk, starts[0], self._heads, width)
        if prefill.cached:
            key, value = self._gather(prefill, layer, count)
        else:
            key = _heads(chunk, starts[1], self._cache.shape.kv_heads, width)
            value = _heads(chunk, starts[2], self._cache.shape.kv_heads, width)
        mask = self._mask(prefill, count, window)
        attended = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=key.shape[1] != query.shape[1],
        )  # [1, heads, count, width]
        out[0, prefill.begin : prefill.end].view(count, self._heads, width).copy_(attended[0].transpose(0, 1))

    def _gather(self, prefill: Prefill, layer: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The sequence's keys and values up to the chunk's end, `[1, kv_heads, length, width]` each."""
        length, width = prefill.cached + count, self._cache.shape.width
        keys = self._cache.keys[layer][prefill.blocks].permute(1, 0, 3, 2)
        values = self._cache.values[layer][prefill.blocks].permute(1, 0, 2, 3)
        kv_heads = keys.shape[0]
        return (
            keys.reshape(1, kv_heads, -1, width)[:, :, :length],
            values.reshape(1, kv_heads, -1, width)[:, :, :length],
        )

    def _mask(self, prefill: Prefill, count: int, window: int) -> torch.Tensor | None:
        """`[count, length]`, 0 where a token may look and -inf elsewhere; None for plain causal.

        One a step for all layers, in the values' type: torch would convert another in each of them.
        """
        if not prefill.cached and not 0 < window < count:
            return None
        name = (prefill.begin, window)
        if name not in self._masks:
            query = torch.arange(prefill.cached, prefill.cached + count)[:, None]
            key = torch.arange(prefill.cached + count)[None]
            hidden = key > query
            if window:
                hidden |= key <= query - window
            mask = torch.zeros(hidden.shape, dtype=self._cache.values[0].dtype)
            self._masks[name] = mask.masked_fill_(hidden, -torch.inf)
        return self._masks[name]


def _heads(chunk: torch.Tensor, start: int, heads: int, width: int) -> torch.Tensor:
    """Columns from `start` on as `[1, heads, tokens, width]`, a view."""
    return chunk[:, start : start + heads * width].view(len(chunk), heads, width).transpose(0, 1)[None]
