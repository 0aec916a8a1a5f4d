"""Attention over pages on a GPU: torch's FlashAttention, or plain operators where it cannot be had.

Both are called alike: new tokens of several sequences behind one another, each reading its own keys and
values through a page table. Knows nothing of models or plans.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

from engine.generation.cache import CacheShape
from engine.log import logger

log = logger("engine.generation")

PAGE_TOKENS = 256
# What FlashAttention 2 was built for (`mha_varlen_fwd` in torch's flash_api.cpp).
_LEAST_CAPABILITY = (8, 0)
_DTYPES = frozenset({torch.bfloat16, torch.float16})
_MOST_WIDTH, _WIDTH_STEP = 256, 8
# Far above what bfloat16 rounds off averages of normal numbers, far below what one wrong page makes.
_TOLERANCE = 0.05


class VarlenAttention(Protocol):
    """`torch.nn.attention.varlen.varlen_attn`, as far as it is used here."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seq_q: torch.Tensor,
        cu_seq_k: torch.Tensor,
        max_q: int,
        max_k: int,
        *,
        scale: float,
        window_size: tuple[int, int],
        enable_gqa: bool,
        seqused_k: torch.Tensor,
        block_table: torch.Tensor,
        num_splits: int,
    ) -> torch.Tensor:
        """Attend: queries and result `[tokens, heads, width]`, keys and values `[pages, page tokens,
        kv_heads, width]`.

        A sequence's queries are its last tokens, so the causal mask is aligned to the end of its
        `seqused_k` keys. `cu_seq_k` must be there, and is not read when there is a page table. `window_size`
        is (tokens before, 0), with -1 for all of them.
        """
        ...


def attend_plainly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
    seqused_k: torch.Tensor,
    block_table: torch.Tensor,
    num_splits: int,
) -> torch.Tensor:
    """`VarlenAttention` for every device and type: a sequence at a time, its pages copied together.

    Slow, and it waits for the device in every layer.
    """
    out = torch.empty_like(query)
    starts = cu_seq_q.tolist()
    for begin, end, length, table in zip(
        starts, starts[1:], seqused_k.tolist(), block_table.long(), strict=False
    ):
        pages = table[: -(-length // key.shape[1])]
        keys, values = (pool[pages].flatten(0, 1)[:length].transpose(0, 1)[None] for pool in (key, value))
        query_place = torch.arange(length - (end - begin), length, device=query.device)[:, None]
        key_place = torch.arange(length, device=query.device)[None]
        seen = key_place <= query_place  # [count, length]
        if window_size[0] >= 0:
            seen &= key_place >= query_place - window_size[0]
        attended = scaled_dot_product_attention(
            query[begin:end].transpose(0, 1)[None],
            keys,
            values,
            attn_mask=seen,
            scale=scale,
            enable_gqa=enable_gqa,
        )  # [1, heads, count, width]
        out[begin:end] = attended[0].transpose(0, 1)
    return out


def choose_attention(
    device: torch.device, dtype: torch.dtype, heads: int, shape: CacheShape
) -> VarlenAttention:
    """FlashAttention where the device has it and it proves right; otherwise, with a warning, plain operators.

    It is tried out on a handful of tokens: a wrong answer to a customer costs more than a second at start.
    """
    if device.type != "cuda":
        return attend_plainly
    flash = cast(VarlenAttention, varlen_attn)
    reason = why_no_flash(
        dtype,
        shape.width,
        capability=torch.cuda.get_device_capability(device),
        is_built=torch.backends.cuda.is_flash_attention_available() and not torch.version.hip,
    ) or what_is_wrong(flash, device, dtype, heads, shape)
    if reason is None:
        return flash
    log.warning(
        f"no FlashAttention on this GPU ({reason}): attention is computed slowly, without CUDA graphs"
    )
    return attend_plainly


def why_no_flash(
    dtype: torch.dtype, width: int, *, capability: tuple[int, int], is_built: bool
) -> str | None:
    """What FlashAttention lacks here; None when nothing. `width` in columns a head."""
    if not is_built:
        return "this torch was built without it"
    if capability < _LEAST_CAPABILITY:
        return f"it needs compute capability 8.0, this GPU has {capability[0]}.{capability[1]}"
    if dtype not in _DTYPES:
        return f"it computes in 16 bits, the model in {str(dtype).removeprefix('torch.')}"
    if width > _MOST_WIDTH or width % _WIDTH_STEP:
        return f"its heads have up to 256 columns in eights, the model's {width}"
    return None


@torch.inference_mode()
def what_is_wrong(
    attention: VarlenAttention, device: torch.device, dtype: torch.dtype, heads: int, shape: CacheShape
) -> str | None:
    """Compare with `attend_plainly` in float32: None, or how it fails.

    Raises `torch.OutOfMemoryError`, `torch.AcceleratorError`.
    """
    generator = torch.Generator().manual_seed(0)
    pool = (4, PAGE_TOKENS, shape.kv_heads, shape.width)
    query, key, value = (
        torch.randn(size, generator=generator).to(device, dtype)
        for size in ((41, heads, shape.width), pool, pool)
    )
    # A single token behind 299 others in two pages out of order, and a chunk of 40 behind 60.
    starts, keys, lengths, tables = (
        torch.tensor(numbers, dtype=torch.int32, device=device)
        for numbers in ([0, 1, 41], [0, 300, 400], [300, 100], [[3, 1], [2, 0]])
    )
    for window in (-1, 70):

        def attend(by: VarlenAttention, *tensors: torch.Tensor, window: int = window) -> torch.Tensor:
            q, k, v = tensors
            return by(
                q, k, v, starts, keys, 40, pool[0] * PAGE_TOKENS, scale=shape.width**-0.5,
                window_size=(window, 0), enable_gqa=heads != shape.kv_heads, seqused_k=lengths,
                block_table=tables, num_splits=1,
            )  # fmt: skip

        try:
            got = attend(attention, query, key, value)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except RuntimeError as error:  # a check of torch's
            return str(error).splitlines()[0]
        right = attend(attend_plainly, query.float(), key.float(), value.float())
        if not bool((got.float() - right).abs().max() < _TOLERANCE):  # NaN is not less either
            return "it was tried and gave a wrong result"
    return None
