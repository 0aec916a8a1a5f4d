"""The CPU kernels, compiled by numba for an element type and started on torch's own threads.

Each is a C function over an array `a` of addresses and sizes, the first two of which are `openmp`'s. The
first argument of a `Kernel` is the work, the others are a[2], a[3] and so on, as listed at each. All tensors
are contiguous but where a row stride is given, in elements. Nothing is checked here: the callers in this
package build the arguments.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import carray, cfunc, types

from engine.generation import kernel_bodies as bodies
from engine.generation import vectors
from engine.generation.kernel_bodies import GELU_TANH, SILU
from engine.generation.openmp import Kernel


def float_bits(value: float) -> int:
    """A double as the integer of the same bits: how floats travel among integer arguments."""
    bits: int = struct.unpack("q", struct.pack("d", value))[0]
    return bits


_sources = f"{zlib.crc32(b''.join(Path(str(file.__file__)).read_bytes() for file in (bodies, vectors))):08x}"


class Kernels:
    """The kernels for one element type: bfloat16 (as its bits) or float32. Compiled once, then from disk."""

    def __init__(self, element: Any) -> None:
        signature = types.void(types.voidptr)

        def compiled(function: Callable[[Any], None]) -> Kernel:
            # numba finds compiled code by name and by this file's time: the other files must be in the name.
            function.__qualname__ += _sources
            try:
                return Kernel(cfunc(signature, cache=True)(function))
            except RuntimeError:  # no folder that the cache may be written to
                return Kernel(cfunc(signature)(function))

        def attend(p: Any) -> None:
            # queries, row stride, pool, out, tables, lengths, rows, heads, kv_heads, width, block size,
            # blocks a table, scale (bits), window, blocks of the pool
            a = carray(p, (17,), np.int64)
            bodies.attend(
                a,
                carray(bodies.pointer(a[2]), (a[8], a[3]), element),
                carray(bodies.pointer(a[4]), (a[16], a[10], 2, a[11] * a[12]), element),
                carray(bodies.pointer(a[5]), (a[8], a[9] * a[11]), element),
            )

        def keep(p: Any) -> None:
            # keys, values, pool, slots, rows, kv_heads, width, block size, row stride, blocks of the pool
            a = carray(p, (12,), np.int64)
            bodies.keep(
                a,
                carray(bodies.pointer(a[2]), (a[6], a[10]), element),
                carray(bodies.pointer(a[3]), (a[6], a[10]), element),
                carray(bodies.pointer(a[4]), (a[11], a[7], 2, a[8] * a[9]), element),
            )

        def norm(p: Any) -> None:
            # x, weight, out, rows, heads, width, epsilon (bits), offset (bits), row stride of x, of out
            a = carray(p, (12,), np.int64)
            bodies.norm(
                a,
                carray(bodies.pointer(a[2]), (a[5], a[10]), element),
                carray(bodies.pointer(a[3]), (a[7],), element),
                carray(bodies.pointer(a[4]), (a[5], a[11]), element),
            )

        def turn(p: Any) -> None:
            # x, cos, sin, rows, heads, width, row stride
            a = carray(p, (9,), np.int64)
            bodies.turn(
                a,
                carray(bodies.pointer(a[2]), (a[5], a[8]), element),
                carray(bodies.pointer(a[3]), (a[5], a[7]), element),
                carray(bodies.pointer(a[4]), (a[5], a[7]), element),
            )

        def gate(p: Any) -> None:
            # both halves, out, rows, width, activation
            a = carray(p, (7,), np.int64)
            bodies.gate(
                a,
                carray(bodies.pointer(a[2]), (a[4], 2 * a[5]), element),
                carray(bodies.pointer(a[3]), (a[4], a[5]), element),
            )

        def quantise(p: Any) -> None:
            # x, codes, scales, rows, width
            a = carray(p, (7,), np.int64)
            bodies.quantise(a, carray(bodies.pointer(a[2]), (a[5], a[6]), element))

        def finish(p: Any) -> None:
            # products, scales, bias, residual, out, rows, width, has bias, activation or -1, has residual
            a = carray(p, (12,), np.int64)
            shape = (a[7], a[8])
            bodies.finish(
                a,
                carray(bodies.pointer(a[4]), (a[8],), element),
                carray(bodies.pointer(a[5]), shape, element),
                carray(bodies.pointer(a[6]), shape, element),
            )

        def multiply(p: Any) -> None:
            # packed weights, x, bias, residual, out, inputs, outputs, has bias, has residual
            a = carray(p, (11,), np.int64)
            bodies.multiply(
                a,
                carray(bodies.pointer(a[4]), (a[8],), element),
                carray(bodies.pointer(a[5]), (a[8],), element),
                carray(bodies.pointer(a[6]), (a[8],), element),
            )

        def activate(p: Any) -> None:
            # x, rows, width, activation
            a = carray(p, (6,), np.int64)
            bodies.activate(a, carray(bodies.pointer(a[2]), (a[3], a[4]), element))

        def centre(p: Any) -> None:
            # x, weight, bias, out, rows, width, epsilon (bits)
            a = carray(p, (9,), np.int64)
            shape = (a[6], a[7])
            bodies.centre(
                a,
                carray(bodies.pointer(a[2]), shape, element),
                carray(bodies.pointer(a[3]), (a[7],), element),
                carray(bodies.pointer(a[4]), (a[7],), element),
                carray(bodies.pointer(a[5]), shape, element),
            )

        self.multiply, self.activate, self.centre = compiled(multiply), compiled(activate), compiled(centre)
        self.attend, self.keep = compiled(attend), compiled(keep)
        self.norm, self.turn, self.gate = compiled(norm), compiled(turn), compiled(gate)
        self.quantise, self.finish = compiled(quantise), compiled(finish)


_built: dict[torch.dtype, Kernels] = {}


def kernels_for(dtype: torch.dtype) -> Kernels:
    """The kernels for tensors of `dtype`, compiled at the first call."""
    if dtype not in _built:
        _built[dtype] = Kernels({torch.bfloat16: np.uint16, torch.float32: np.float32}[dtype])
    return _built[dtype]


__all__ = ["GELU_TANH", "SILU", "Kernels", "float_bits", "kernels_for"]
