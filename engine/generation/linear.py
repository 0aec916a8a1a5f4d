"""Matrix products with weights laid out once for oneDNN: bfloat16, float32, or 8-bit integers.

A layer may carry its activation and the residual that is added behind it, which oneDNN does while the result
is still in registers. A row's result does not depend on the other rows: products are summed in an order that
depends on the weight alone (for up to 32 rows in bfloat16; beyond it may differ in the last bit).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Protocol

import torch

from engine.generation.kernels import GELU_TANH, SILU, kernels_for
from engine.generation.vectors import PANEL

ACTIVATIONS = {
    "gelu_tanh": ("gelu", "tanh", GELU_TANH),
    "silu": ("swish", "", SILU),
}
"""What can be fused, by name: oneDNN's attribute and algorithm, and our kernels' number."""

_reorder = torch.ops.mkldnn._reorder_linear_weight.default
_product = torch.ops.mkldnn._linear_pointwise.default
_product_and_sum = torch.ops.mkldnn._linear_pointwise.binary
_num_bytes = torch.ops.mkldnn._nbytes.default
_address_of = torch.ops.mkldnn.data_ptr.default
_pack_integers = torch.ops.onednn.qlinear_prepack.default
_integer_product = torch.ops.onednn.qlinear_pointwise.default


class Linear(Protocol):
    """`[1, rows, in]` to `[1, rows, out]`, plus `residual` of the result's shape where one is given."""

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor: ...


MakeLinear = Callable[[torch.Tensor, "torch.Tensor | None", "str | None"], Linear]
"""From a weight `[out, in]`, a bias `[out]` or None, and an activation of `ACTIVATIONS` or None."""


class PackedLinear:
    """Weights in the layout that oneDNN's kernels read, in their own type.

    In bfloat16 a single row is multiplied by a kernel of ours over the same weights: a matrix times a vector
    does nothing but read, and oneDNN reads at about five sixths of the rate.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: str | None) -> None:
        self._weight, self._bias, self._outputs = _reorder(weight.contiguous()), bias, len(weight)
        self._attribute, self._algorithm, self._kind = (
            ACTIVATIONS[activation] if activation else ("none", "", -1)
        )
        self._panels = _panels(weight, self._weight)
        if self._panels:
            example = torch.randn(1, 1, weight.shape[1]).to(weight.dtype)
            if not torch.equal(self._multiply_row(example, None), self._multiply(example, None, "none", "")):
                self._panels = 0  # this processor rounds otherwise: a row must not depend on its company

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        rows = x.shape[-2]
        if self._kind < 0 or rows > _MOST_INVARIANT_ROWS or x.dtype is not torch.bfloat16:
            if rows == 1 and self._panels:
                return self._multiply_row(x, residual)
            return self._multiply(x, residual, self._attribute, self._algorithm)
        # oneDNN's activation rounds otherwise than ours, so for one and for few rows it is ours.
        out = (
            self._multiply_row(x, None) if rows == 1 and self._panels else self._multiply(x, None, "none", "")
        )
        kernels_for(out.dtype).activate(8 * out.numel(), out.data_ptr(), rows, self._outputs, self._kind)
        return out

    def _multiply(
        self, x: torch.Tensor, residual: torch.Tensor | None, attribute: str, algorithm: str
    ) -> torch.Tensor:
        out: torch.Tensor
        if residual is not None:
            out = _product_and_sum(x, residual, self._weight, self._bias, "add")
        else:
            out = _product(x, self._weight, self._bias, attribute, [], algorithm)
        return out

    def _multiply_row(self, x: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        out = x.new_empty(1, 1, self._outputs)
        bias = self._bias.data_ptr() if self._bias is not None else 0
        added = residual.data_ptr() if residual is not None else 0
        inputs = x.shape[-1]
        kernels_for(x.dtype).multiply(
            inputs * self._outputs, self._panels, x.data_ptr(), bias, added, out.data_ptr(),
            inputs, self._outputs, int(bias != 0), int(added != 0),
        )  # fmt: skip
        return out


# Up to here oneDNN's bfloat16 products are the same bits for a row in whatever company.
_MOST_INVARIANT_ROWS = 32


def _panels(weight: torch.Tensor, packed: torch.Tensor) -> int:
    """Address of the packed weights if they lie as `vectors.PANEL` says, else 0."""
    outputs, inputs = weight.shape
    panels = -(-outputs // PANEL)
    if weight.dtype is not torch.bfloat16 or inputs % 2 or _num_bytes(packed) != panels * PANEL * inputs * 2:
        return 0
    address: int = _address_of(packed)
    lying = torch.frombuffer(
        (ctypes.c_uint16 * (panels * PANEL * inputs)).from_address(address), dtype=torch.bfloat16
    )
    expected = torch.zeros(PANEL, inputs, dtype=weight.dtype)
    for panel in (0, panels - 1):
        rows = weight[panel * PANEL : (panel + 1) * PANEL]
        expected.zero_()[: len(rows)] = rows
        found = lying.view(panels, inputs // 2, PANEL, 2)[panel]
        if not torch.equal(found, expected.view(PANEL, inputs // 2, 2).transpose(0, 1)):
            return 0
    return address


class IntegerLinear:
    """Weights as 8-bit integers with a scale for each output, inputs quantised row by row as they come.

    Symmetric, to the largest absolute value, as LLM.int8() has it without its outlier columns (Dettmers et
    al. 2022): a quarter of float32's memory, about half a percent of error a product.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: str | None) -> None:
        largest = weight.float().abs().amax(1).clamp_min(1e-12)  # [out] float32
        self._scales = largest / 127
        codes = (weight.float() / self._scales[:, None]).round_().to(torch.int8).contiguous()
        self._weight = _pack_integers(codes, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.long)
        self._bias, self._outputs = bias, len(weight)
        self._kind = ACTIVATIONS[activation][2] if activation else -1

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        x = x.contiguous()
        rows, width = x.shape[-2:]
        kernels = kernels_for(x.dtype)
        codes, scales = torch.empty(rows, width, dtype=torch.int8), torch.empty(rows)
        kernels.quantise(
            rows * width, x.data_ptr(), codes.data_ptr(), scales.data_ptr(), rows, width
        )  # fmt: skip
        products = _integer_product(
            codes,
            1.0,
            0,
            self._weight,
            self._scales,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )  # [rows, out] float32
        out = torch.empty(1, rows, self._outputs, dtype=x.dtype)
        bias = self._bias.data_ptr() if self._bias is not None else 0
        added = residual.data_ptr() if residual is not None else 0
        kernels.finish(
            rows * self._outputs, products.data_ptr(), scales.data_ptr(), bias, added, out.data_ptr(),
            rows, self._outputs, int(bias != 0), self._kind, int(added != 0),
        )  # fmt: skip
        return out
