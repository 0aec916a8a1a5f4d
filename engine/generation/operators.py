"""The larger operators that a traced graph is rewritten to, over rows `[1, tokens, columns]`.

`linear` is a mark that never runs as it stands: `graph` binds it to packed weights.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.generation.kernels import float_bits, kernels_for


def linear(x: Any, weights: Any, biases: Any, activation: Any = None, residual: Any = None) -> Any:
    """`x` times each of `weights` (`[out, in]`), side by side."""
    raise AssertionError("bound before it runs")


def columns(x: torch.Tensor, start: int, width: int) -> torch.Tensor:
    """Columns `[start, start + width)` of the last dimension, a view."""
    return x.narrow(-1, start, width)


def norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float, offset: float) -> torch.Tensor:
    """RMSNorm (Zhang & Sennrich 2019) over the last dimension, scaled by `weight + offset`."""
    x = x.contiguous()
    out, width = torch.empty_like(x), x.shape[-1]
    norm_rows(x, out, 0, 1, width, weight, epsilon, offset, rows=x.numel() // width)
    return out


def norm_rows(
    x: torch.Tensor,
    out: torch.Tensor,
    start: int,
    heads: int,
    width: int,
    weight: torch.Tensor,
    epsilon: float,
    offset: float,
    *,
    rows: int,
) -> None:
    """RMSNorm of each `width` columns from `start` on, for each of `rows`; `out` may be `x`."""
    stride = x.numel() // rows
    skip = start * x.element_size()
    kernels_for(x.dtype).norm(
        rows * heads * width, x.data_ptr() + skip, weight.data_ptr(), out.data_ptr() + skip,
        rows, heads, width, float_bits(epsilon), float_bits(offset), stride, stride,
    )  # fmt: skip


def centred(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> torch.Tensor:
    """LayerNorm (Ba et al. 2016) over the last dimension."""
    x = x.contiguous()
    out, width = torch.empty_like(x), x.shape[-1]
    rows = x.numel() // width
    kernels_for(x.dtype).centre(
        3 * x.numel(), x.data_ptr(), weight.data_ptr(), bias.data_ptr(), out.data_ptr(), rows, width,
        float_bits(epsilon),
    )  # fmt: skip
    return out


def gate(both: torch.Tensor, kind: int) -> torch.Tensor:
    """`activation(left half) * right half` of the last dimension."""
    rows, width = both.shape[-2], both.shape[-1] // 2
    out = both.new_empty(*both.shape[:-1], width)
    # The exponential makes an element worth some eight multiply-adds.
    kernels_for(both.dtype).gate(rows * width * 8, both.data_ptr(), out.data_ptr(), rows, width, kind)
    return out


def rotation(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding in halves (Su et al. 2021, laid out as in GPT-NeoX and Llama).

    `x` is `[1, heads, tokens, width]`, `cos` and `sin` are `[1, tokens, width]`.
    """
    half = x.shape[-1] // 2
    swapped = torch.cat((-x[..., half:], x[..., :half]), -1)
    return x * cos[:, None] + swapped * sin[:, None]


def rotate_rows(
    x: torch.Tensor, start: int, heads: int, width: int, cos: torch.Tensor, sin: torch.Tensor
) -> None:
    """`rotation` in place, of `heads` times `width` columns of `x [1, tokens, columns]` from `start` on."""
    rows, stride = x.shape[-2:]
    kernels_for(x.dtype).turn(
        rows * heads * width * 2, x.data_ptr() + start * x.element_size(), cos.data_ptr(), sin.data_ptr(),
        rows, heads, width, stride,
    )  # fmt: skip
