"""The inner loops of attention and of matrix times vector, written as LLVM vectors for numba.

Left to the compiler they keep their sums in memory and use half of the processor's width, at a fifth of the
speed. LLVM lowers a vector of 16 to whatever the processor has: one AVX-512 register, two of AVX2.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

BLOCK_TOKENS = 32
"""Tokens of a block, two vectors."""
_LANES = 16
_FLOATS = ir.VectorType(ir.FloatType(), _LANES)
_BITS = ir.VectorType(ir.IntType(32), _LANES)
_INDEX = ir.IntType(64)
_LINE_BYTES = 64
# Arguments of LLVM's prefetch. The first cache has too few places for lines on their way.
_TO_READ, _INTO_L2, _DATA = 0, 2, 1


def _address(builder: Any, base: Any, index: Any, size: int) -> Any:
    return builder.add(base, builder.mul(index, ir.Constant(index.type, size)))


def _at(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _read(builder: Any, address: Any, element_size: int) -> Any:
    """Sixteen elements at an address, as floats: bfloat16 is the upper half of a float."""
    if element_size == 4:
        return builder.load(_at(builder, address, _FLOATS), align=4)
    bits = builder.load(_at(builder, address, ir.VectorType(ir.IntType(16), _LANES)), align=2)
    shift = ir.Constant(_BITS, [16] * _LANES)
    return builder.bitcast(builder.shl(builder.zext(bits, _BITS), shift), _FLOATS)


def _spread(builder: Any, address: Any) -> Any:
    """One float at an address, in all lanes."""
    number = builder.load(_at(builder, address, ir.FloatType()), align=4)
    one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(_BITS, [0] * _LANES)
    return builder.shuffle_vector(one, ir.Constant(_FLOATS, ir.Undefined), lanes)


def _multiply_add(builder: Any, left: Any, right: Any, added: Any) -> Any:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{_LANES}f32")
    return builder.call(function, [left, right, added])


def _prefetch(builder: Any, address: Any, size: int) -> None:
    """Ask for the cache lines of a row without waiting for them."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    for offset in range(0, size, _LINE_BYTES):
        line = builder.inttoptr(builder.add(address, ir.Constant(_INDEX, offset)), byte)
        builder.call(function, [line, *(ir.Constant(number, n) for n in (_TO_READ, _INTO_L2, _DATA))])


def _sums(builder: Any, count: int) -> list[Any]:
    """Places for sums, which LLVM turns into registers."""
    return [cgutils.alloca_once(builder, _FLOATS) for _ in range(count)]


def _score(element_size: int) -> Any:
    @intrinsic
    def score(_: Any, keys: Any, query: Any, scores: Any, width: Any, ahead: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            keys, query, scores, width, ahead = arguments
            sums = _sums(builder, BLOCK_TOKENS // _LANES)
            for place in sums:
                builder.store(ir.Constant(_FLOATS, [0.0] * _LANES), place)
            with cgutils.for_range(builder, width, intp=_INDEX) as loop:
                row = _address(builder, keys, loop.index, BLOCK_TOKENS * element_size)
                _prefetch(builder, builder.add(row, ahead), BLOCK_TOKENS * element_size)
                factor = _spread(builder, _address(builder, query, loop.index, 4))
                for part, place in enumerate(sums):
                    offset = ir.Constant(_INDEX, part * _LANES * element_size)
                    found = _read(builder, builder.add(row, offset), element_size)
                    builder.store(_multiply_add(builder, factor, found, builder.load(place)), place)
            for part, place in enumerate(sums):
                target = builder.add(scores, ir.Constant(_INDEX, part * _LANES * 4))
                builder.store(builder.load(place), _at(builder, target, _FLOATS), align=4)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 5), generate

    return score


def _add(element_size: int, vectors: int) -> Any:
    columns = vectors * _LANES

    @intrinsic
    def add(
        _: Any, values: Any, weights: Any, sums: Any, first: Any, last: Any, width: Any, ahead: Any
    ) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            values, weights, sums, first, last, width, ahead = arguments
            places = _sums(builder, vectors)
            row_bytes = builder.mul(width, ir.Constant(_INDEX, element_size))
            span = ir.Constant(_INDEX, columns)
            with cgutils.for_range_slice(builder, ir.Constant(_INDEX, 0), width, span, _INDEX) as (begin, _n):
                first_sum = _address(builder, sums, begin, 4)
                targets = [
                    _at(builder, builder.add(first_sum, ir.Constant(_INDEX, n * _LANES * 4)), _FLOATS)
                    for n in range(vectors)
                ]
                for target, place in zip(targets, places, strict=True):
                    builder.store(builder.load(target, align=4), place)
                start = _address(builder, values, begin, element_size)
                one = ir.Constant(_INDEX, 1)
                with cgutils.for_range_slice(builder, first, last, one, _INDEX) as (token, _m):
                    factor = _spread(builder, _address(builder, weights, token, 4))
                    row = builder.add(start, builder.mul(token, row_bytes))
                    _prefetch(builder, builder.add(row, ahead), columns * element_size)
                    for n, place in enumerate(places):
                        offset = ir.Constant(_INDEX, n * _LANES * element_size)
                        found = _read(builder, builder.add(row, offset), element_size)
                        builder.store(_multiply_add(builder, factor, found, builder.load(place)), place)
                for target, place in zip(targets, places, strict=True):
                    builder.store(builder.load(place), target, align=4)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return add


score_bfloat16, score_float32 = _score(2), _score(4)
"""`score(keys, query, scores, width, ahead)`: scores[t] = sum over d of keys[d, t] * query[d].

For all tokens of a block. What lies `ahead` bytes on is asked for meanwhile. All are addresses but `width`;
keys `[width, 32]` of the element, query `[width]` and scores `[32]` float32.
"""
add_bfloat16, add_float32 = _add(2, 4), _add(4, 4)
"""`add(values, weights, sums, first, last, width, ahead)`: sums[d] += weights[t] * values[t, d].

For t in [first, last). Values `[32, width]` of the element, weights `[32]` and sums `[width]` float32; width
a multiple of 64.
"""
add_narrow_bfloat16, add_narrow_float32 = _add(2, 1), _add(4, 1)
"""The same for widths that are multiples of 16."""


PANEL = 32
"""Outputs that oneDNN keeps side by side in its packed bfloat16 weights: `[out / 32, in / 2, 32, 2]`."""
# Inputs that AMX multiplies into its accumulators at a time, in pairs.
_TILE_PAIRS = 16
# How far ahead of the product the weights are asked for.
_AHEAD_BYTES = 1024


@intrinsic
def multiply_panel(_: Any, weights: Any, x: Any, out: Any, pairs: Any) -> Any:
    """`multiply_panel(weights, x, out, pairs)`: out[n] = sum over k of weights[n, k] * x[k], for one panel.

    All are addresses but `pairs`, half of the inputs; weights and x bfloat16, out `[32]` float32. Rounds as
    AMX's TDPBF16PS does (Intel 64 manual, volume 2): in tiles of 32 inputs, even and odd ones are summed
    apart from zero on, then added to each other and to what was there.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        weights, x, out, pairs = arguments
        totals, evens, odds = (_sums(builder, PANEL // _LANES) for _ in range(3))
        zero, one = ir.Constant(_FLOATS, [0.0] * _LANES), ir.Constant(_INDEX, 1)
        for place in totals:
            builder.store(zero, place)
        tile = ir.Constant(_INDEX, _TILE_PAIRS)
        with cgutils.for_range_slice(builder, ir.Constant(_INDEX, 0), pairs, tile, _INDEX) as (begin, _n):
            for place in (*evens, *odds):
                builder.store(zero, place)
            end = builder.add(begin, tile)
            end = builder.select(builder.icmp_signed("<", end, pairs), end, pairs)
            with cgutils.for_range_slice(builder, begin, end, one, _INDEX) as (pair, _m):
                row = _address(builder, weights, pair, 4 * PANEL)
                _prefetch(builder, builder.add(row, ir.Constant(_INDEX, _AHEAD_BYTES)), 4 * PANEL)
                even, odd = _halves(builder, _spread_bits(builder, _address(builder, x, pair, 4)))
                for part in range(PANEL // _LANES):
                    address = builder.add(row, ir.Constant(_INDEX, part * _LINE_BYTES))
                    left, right = _halves(builder, builder.load(_at(builder, address, _BITS), align=4))
                    for sums, factor, found in ((evens, even, left), (odds, odd, right)):
                        product = _multiply_add(builder, factor, found, builder.load(sums[part]))
                        builder.store(product, sums[part])
            for total, even_sum, odd_sum in zip(totals, evens, odds, strict=True):
                both = builder.fadd(builder.load(even_sum), builder.load(odd_sum))
                builder.store(builder.fadd(builder.load(total), both), total)
        for part, total in enumerate(totals):
            target = builder.add(out, ir.Constant(_INDEX, part * _LINE_BYTES))
            builder.store(builder.load(total), _at(builder, target, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _spread_bits(builder: Any, address: Any) -> Any:
    """One 32-bit word at an address, in all lanes."""
    word = builder.load(_at(builder, address, ir.IntType(32)), align=2)
    first = builder.insert_element(ir.Constant(_BITS, ir.Undefined), word, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, ir.Constant(_BITS, ir.Undefined), ir.Constant(_BITS, [0] * _LANES))


def _halves(builder: Any, words: Any) -> tuple[Any, Any]:
    """Two bfloat16 in each word as floats: the even ones, which come first in memory, and the odd ones."""
    even = builder.shl(words, ir.Constant(_BITS, [16] * _LANES))
    odd = builder.and_(words, ir.Constant(_BITS, [-(1 << 16)] * _LANES))
    return builder.bitcast(even, _FLOATS), builder.bitcast(odd, _FLOATS)
