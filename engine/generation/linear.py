"""Matrix products with weights laid out once for oneDNN: bfloat16, float32, or 8-bit integers.

A layer may carry its activation and the residual that is added behind it, which oneDNN does while the result
is still in registers. A row's result does not depend on the other rows: products are summed in an order that
depends on the weight alone (for up to 32 rows in bfloat16; beyond it may differ in the last bit).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from engine.generation.kernels import GELU_TANH, SILU, kernels_for
from engine.generation.vectors import PANEL

# Up to here oneDNN's bfloat16 products are the same bits for a row in whatever company.
_MOST_INVARIANT_ROWS = 32


@dataclass(frozen=True, slots=True)
class Fused:
    """An activation as oneDNN calls it, and its number in our kernels."""

    attribute: str
    algorithm: str
    number: int


ACTIVATIONS = {"gelu_tanh": Fused("gelu", "tanh", GELU_TANH), "silu": Fused("swish", "", SILU)}
"""What can be fused, by name."""
_NO_ACTIVATION = Fused("none", "", -1)

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

    @property
    def can_look_up(self) -> bool:
        """Whether the weights serve as an embedding table as well, where the model ties them."""
        ...

    def look_up(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows of the weight with these numbers: `[1, tokens]` int64 to `[1, tokens, in]`."""
        ...


MakeLinear = Callable[[torch.Tensor, "torch.Tensor | None", "str | None"], Linear]
"""From a weight `[out, in]`, a bias `[out]` or None, and an activation of `ACTIVATIONS` or None."""


class PackedLinear:
    """Weights in the layout that oneDNN's kernels read, in their own type.

    In bfloat16 a single row is multiplied by a kernel of ours over the same weights: a matrix times a vector
    does nothing but read, and oneDNN reads at about five sixths of the rate.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: str | None) -> None:
        self._weight, self._bias, self._outputs = _reorder(weight.contiguous()), bias, len(weight)
        self._fused = ACTIVATIONS[activation] if activation else _NO_ACTIVATION
        self._panels = _panels(weight, self._weight)
        # A row must not depend on its company: this processor's oneDNN must round as our kernel does.
        example = torch.randn(1, 1, weight.shape[1]).to(weight.dtype)
        self._takes_rows = self._panels is not None and torch.equal(
            self._multiply_row(example, None), self._multiply(example, None, _NO_ACTIVATION)
        )

    @property
    def can_look_up(self) -> bool:
        """See `Linear.can_look_up`."""
        return self._panels is not None

    def look_up(self, ids: torch.Tensor) -> torch.Tensor:
        """See `Linear.look_up`."""
        assert self._panels is not None
        found: torch.Tensor = self._panels[ids[0] // PANEL, :, ids[0] % PANEL]  # [tokens, in / 2, 2]
        return found.reshape(1, ids.shape[1], -1)

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        rows = x.shape[-2]
        takes_row = rows == 1 and self._takes_rows
        if self._fused is _NO_ACTIVATION or rows > _MOST_INVARIANT_ROWS or x.dtype is not torch.bfloat16:
            if takes_row and self._fused is _NO_ACTIVATION:
                return self._multiply_row(x, residual)
            return self._multiply(x, residual, self._fused)
        # oneDNN's activation rounds otherwise than ours, so for one and for few rows it is ours.
        out = self._multiply_row(x, None) if takes_row else self._multiply(x, None, _NO_ACTIVATION)
        number = self._fused.number
        kernels_for(out.dtype).activate(8 * out.numel(), out.data_ptr(), rows, self._outputs, number)
        return out

    def _multiply(self, x: torch.Tensor, residual: torch.Tensor | None, fused: Fused) -> torch.Tensor:
        out: torch.Tensor
        if residual is not None:
            out = _product_and_sum(x, residual, self._weight, self._bias, "add")
        else:
            out = _product(x, self._weight, self._bias, fused.attribute, [], fused.algorithm)
        return out

    def _multiply_row(self, x: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        assert self._panels is not None
        out = x.new_empty(1, 1, self._outputs)
        bias = self._bias.data_ptr() if self._bias is not None else 0
        added = residual.data_ptr() if residual is not None else 0
        inputs = x.shape[-1]
        kernels_for(x.dtype).multiply(
            inputs * self._outputs, self._panels.data_ptr(), x.data_ptr(), bias, added, out.data_ptr(),
            inputs, self._outputs, int(bias != 0), int(added != 0),
        )  # fmt: skip
        return out


def _panels(weight: torch.Tensor, packed: torch.Tensor) -> torch.Tensor | None:
    """The packed weights as they lie in memory, `[out / 32, in / 2, 32, 2]`, if that is how they lie."""
    outputs, inputs = weight.shape
    shape = (-(-outputs // PANEL), inputs // 2, PANEL, 2)
    count = shape[0] * PANEL * inputs
    if weight.dtype is not torch.bfloat16 or inputs % 2 or _num_bytes(packed) != count * weight.itemsize:
        return None
    memory = (ctypes.c_uint16 * count).from_address(_address_of(packed))
    lying = torch.frombuffer(memory, dtype=weight.dtype).view(shape)
    expected = torch.zeros(PANEL, inputs, dtype=weight.dtype)
    for panel in (0, shape[0] - 1):
        rows = weight[panel * PANEL : (panel + 1) * PANEL]
        expected.zero_()[: len(rows)] = rows
        if not torch.equal(lying[panel], expected.view(PANEL, inputs // 2, 2).transpose(0, 1)):
            return None
    return lying


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
        self._kind = ACTIVATIONS[activation].number if activation else -1

    can_look_up = False

    def look_up(self, ids: torch.Tensor) -> torch.Tensor:
        """Never asked for: the rows would have lost precision."""
        raise AssertionError

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        x = x.contiguous()
        rows, width = x.shape[-2:]
        kernels = kernels_for(x.dtype)
        codes, scales = torch.empty(rows, width, dtype=torch.int8), torch.empty(rows)
        kernels.quantise(rows * width, x.data_ptr(), codes.data_ptr(), scales.data_ptr(), rows, width)
        products = _integer_product(
            codes, 1.0, 0, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32,
            "none", [], "",
        )  # fmt: skip
        out = torch.empty(1, rows, self._outputs, dtype=x.dtype)
        bias = self._bias.data_ptr() if self._bias is not None else 0
        added = residual.data_ptr() if residual is not None else 0
        kernels.finish(
            rows * self._outputs, products.data_ptr(), scales.data_ptr(), bias, added, out.data_ptr(),
            rows, self._outputs, int(bias != 0), self._kind, int(added != 0),
        )  # fmt: skip
        return out
