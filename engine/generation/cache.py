"""The memory behind the paged key/value cache: one pool of blocks a layer. Which block is whose, `blocks`
knows."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import torch

from engine.generation.vectors import BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one token leaves in the cache, as the model's configuration says."""

    layers: int
    kv_heads: int
    width: int
    """Columns of one head."""

    @classmethod
    def of(cls, config: Any) -> CacheShape:
        """Read a transformers configuration."""
        text = config.get_text_config()
        heads = text.num_attention_heads
        return cls(
            layers=text.num_hidden_layers,
            kv_heads=getattr(text, "num_key_value_heads", None) or heads,
            width=getattr(text, "head_dim", None) or text.hidden_size // heads,
        )

    def token_bytes(self, dtype: torch.dtype) -> int:
        """Bytes of keys and values a token, all layers together."""
        return 2 * self.layers * self.kv_heads * self.width * dtype.itemsize


class KVCache:
    """Keys and values by layer, every page of memory touched: it never grows.

    Keys are `[blocks, kv_heads, width, tokens]` and values `[blocks, kv_heads, tokens, width]`, both views of
    `pools`, `[blocks, kv_heads, 2, width * tokens]`: what a step reads of a block, and of the next, lies
    in one piece. This is the CPU's; `cuda` has another.
    """

    width_dim = 1
    """Which dimension of a block's keys is the width."""

    def __init__(self, shape: CacheShape, blocks: int, dtype: torch.dtype) -> None:
        self.shape, self.num_blocks, self.block_size = shape, blocks, BLOCK_TOKENS
        heads, width = shape.kv_heads, shape.width
        self.pools = [_huge((blocks, heads, 2, width * BLOCK_TOKENS), dtype) for _ in range(shape.layers)]
        in_key, in_value = (blocks, heads, width, BLOCK_TOKENS), (blocks, heads, BLOCK_TOKENS, width)
        self.keys = [pool[:, :, 0].view(in_key) for pool in self.pools]
        self.values = [pool[:, :, 1].view(in_value) for pool in self.pools]

    @property
    def num_tokens(self) -> int:
        """How many tokens fit."""
        return self.num_blocks * self.block_size

    @property
    def num_bytes(self) -> int:
        """Memory of the pools."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


_HUGE_PAGE = 2 * 1024 * 1024


def _huge(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Zeros, in huge pages where the system has them.

    A step reads blocks all over the pool; with pages of 4 KiB nearly every one of them misses the address
    cache, which halves the rate that memory is read at.
    """
    count = 1
    for size in shape:
        count *= size
    # Private: shared memory gets no huge pages unless the whole system is told so.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, max(count * dtype.itemsize, 1), flags=flags)
    if count * dtype.itemsize >= _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape).zero_()
