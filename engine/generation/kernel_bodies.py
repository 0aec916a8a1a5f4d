"""What torch has no fused CPU operator for: attention over paged blocks, and the small row-wise steps between
two matrix products. `kernels` compiles these functions and says what their arguments are.

Rows are dealt to threads whole and each row is summed in a fixed order, so a row's result does not depend on
who else is in the batch. bfloat16 is handled as its 16 bits: the upper half of a float32.

numba compiles this file, and reads no annotations: the argument `a` is an array of int64 everywhere, other
arrays are of the element type, float32 or uint16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from engine.generation import vectors

# Sums may be reordered and contracted, but NaN and infinity keep their meaning: they are looked for later.
_FASTMATH = {"reassoc", "contract", "nsz"}
_LOWEST = np.float32(-1e30)

SILU, GELU_TANH = 0, 1
"""Activations by number."""


@intrinsic
def pointer(_: Any, address: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@intrinsic
def _call(_: Any, address: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        function = ir.FunctionType(ir.IntType(32), [])
        return builder.call(builder.inttoptr(arguments[0], function.as_pointer()), [])

    return types.int32(types.int64), generate


@njit(error_model="numpy", inline="always")
def _share(a, jobs):
    """Which of `jobs` are this thread's: from, to."""
    if a[1] == 0:
        return np.int64(0), np.int64(jobs)
    me, threads = np.int64(_call(a[0])), np.int64(_call(a[1]))
    return jobs * me // threads, jobs * (me + 1) // threads


def _load(x): ...


@overload(_load, inline="always")
def _load_of(x):
    if isinstance(x, types.Integer):
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: np.float32(x)


def _store(row, i, x): ...


@overload(_store, inline="always")
def _store_of(row, i, x):
    if isinstance(row.dtype, types.Integer):

        def rounded(row, i, x):
            """To nearest, ties to even, as torch rounds."""
            bits = np.float32(x).view(np.uint32)
            up = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
            row[i] = np.uint16(np.uint32(bits + up) >> np.uint32(16))

        return rounded

    def plain(row, i, x):
        row[i] = np.float32(x)

    return plain


@njit(fastmath=_FASTMATH, error_model="numpy", inline="always")
def _exp(x):
    """e^x by 2^n times a Taylor polynomial of 2^f, |f| <= 1/2: relative error under 3e-7.

    Written out because the C library's is a call a value, which keeps the loop around it from being
    vectorised.
    """
    y = min(max(np.float32(x) * np.float32(1.4426950408889634), np.float32(-126)), np.float32(126))
    n = np.floor(y + np.float32(0.5))
    f = np.float32((y - n) * np.float32(0.6931471805599453))
    p = np.float32(1 / 720)
    p = p * f + np.float32(1 / 120)
    p = p * f + np.float32(1 / 24)
    p = p * f + np.float32(1 / 6)
    p = p * f + np.float32(0.5)
    p = p * f + np.float32(1)
    p = p * f + np.float32(1)
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


def _score(pool, keys, query, scores, width, ahead): ...


@overload(_score, inline="always")
def _score_of(pool, keys, query, scores, width, ahead):
    function = vectors.score_bfloat16 if isinstance(pool.dtype, types.Integer) else vectors.score_float32
    return lambda pool, keys, query, scores, width, ahead: function(keys, query, scores, width, ahead)


def _add(pool, values, weights, sums, first, last, width, ahead): ...


@overload(_add)
def _add_of(pool, values, weights, sums, first, last, width, ahead):
    is_bfloat16 = isinstance(pool.dtype, types.Integer)
    wide = vectors.add_bfloat16 if is_bfloat16 else vectors.add_float32
    narrow = vectors.add_narrow_bfloat16 if is_bfloat16 else vectors.add_narrow_float32

    def add(pool, values, weights, sums, first, last, width, ahead):
        if width % 64 == 0:
            wide(values, weights, sums, first, last, width, ahead)
        elif width % 16 == 0:
            narrow(values, weights, sums, first, last, width, ahead)
        else:
            rows = carray(pointer(values), (last, width), pool.dtype)
            factors, totals = (
                carray(pointer(weights), (last,), np.float32),
                carray(pointer(sums), (width,), np.float32),
            )
            for t in range(first, last):
                for d in range(width):
                    totals[d] += factors[t] * _load(rows[t, d])

    return add


@njit(fastmath=_FASTMATH, error_model="numpy", inline="always")
def _weigh(scores, first, count, state, sums, width):
    """Turn a block's scores into weights of a head's running softmax (Milakov & Gimelshein 2018, as
    FlashAttention does). `state` holds the largest score and the sum of the exponentials so far."""
    largest = state[0]
    for t in range(first, count):
        largest = max(largest, scores[t])
    fade = _exp(state[0] - largest)
    for t in range(vectors.BLOCK_TOKENS):
        scores[t] = _exp(scores[t] - largest)
    total = np.float32(0)
    for t in range(first, count):
        total += scores[t]
    state[0] = largest
    state[1] = state[1] * fade + total
    if fade != np.float32(1):
        for d in range(width):
            sums[d] *= fade


@njit(fastmath=_FASTMATH, error_model="numpy")
def attend(a, q, pool, out):
    rows, heads, kv_heads, width = a[8], a[9], a[10], a[11]
    block_size, scale, window = a[12], np.int64(a[14]).view(np.float64), a[15]
    tables = carray(pointer(a[6]), (rows, a[13]), np.int32)
    lengths = carray(pointer(a[7]), (rows,), np.int32)
    group, chunk_bytes = heads // kv_heads, block_size * width * pool.itemsize
    queries = np.empty((heads, width), np.float32)
    sums = np.empty((heads, width), np.float32)
    state = np.empty((heads, 2), np.float32)
    scores = np.empty(vectors.BLOCK_TOKENS, np.float32)
    job, last = _share(a, rows * kv_heads)
    while job < last:
        row, begin = job // kv_heads, job % kv_heads
        end = min(kv_heads, begin + last - job)
        job += end - begin
        length = np.int64(lengths[row])
        oldest = max(np.int64(0), length - window) if window > 0 else np.int64(0)
        for head in range(begin * group, end * group):
            state[head, 0], state[head, 1] = _LOWEST, np.float32(0)
            for d in range(width):
                queries[head, d] = _load(q[row, head * width + d]) * np.float32(scale)
                sums[head, d] = np.float32(0)
        # Blocks outside, heads inside: a block's heads lie side by side in memory.
        num_blocks = (length + block_size - 1) // block_size
        for index in range(oldest // block_size, num_blocks):
            block = np.int64(tables[row, index])
            next_block = np.int64(tables[row, min(index + 1, num_blocks - 1)])
            count = min(block_size, length - index * block_size)
            first = max(np.int64(0), oldest - index * block_size)
            for kv_head in range(begin, end):
                keys = a[4] + (block * kv_heads + kv_head) * 2 * chunk_bytes
                # What comes next is asked for meanwhile: blocks lie anywhere, and the processor's own
                # prefetching ends with each page.
                ahead = 2 * chunk_bytes
                if kv_head + 1 == end:
                    ahead *= (next_block - block) * kv_heads + begin - kv_head
                for head in range(kv_head * group, (kv_head + 1) * group):
                    _score(
                        pool, keys, queries.ctypes.data + head * width * 4, scores.ctypes.data, width, ahead
                    )
                    _weigh(scores, first, count, state[head], sums[head], width)
                    _add(
                        pool, keys + chunk_bytes, scores.ctypes.data, sums.ctypes.data + head * width * 4,
                        first, count, width, ahead,
                    )  # fmt: skip
        for head in range(begin * group, end * group):
            for d in range(width):
                _store(out[row], head * width + d, sums[head, d] / state[head, 1])


@njit(fastmath=_FASTMATH, error_model="numpy")
def keep(a, k, v, pool):
    rows, kv_heads, width, block_size = a[6], a[7], a[8], a[9]
    slots = carray(pointer(a[5]), (rows,), np.int64)
    begin, end = _share(a, rows)
    for row in range(begin, end):
        block, offset = slots[row] // block_size, slots[row] % block_size
        for head in range(kv_heads):
            keys, values = pool[block, head, 0], pool[block, head, 1]
            for d in range(width):
                keys[d * block_size + offset] = k[row, head * width + d]
                values[offset * width + d] = v[row, head * width + d]


@njit(fastmath=_FASTMATH, error_model="numpy")
def norm(a, x, weight, out):
    rows, heads, width = a[5], a[6], a[7]
    epsilon, offset = np.int64(a[8]).view(np.float64), np.int64(a[9]).view(np.float64)
    begin, end = _share(a, rows)
    for row in range(begin, end):
        for head in range(heads):
            start = head * width
            square = np.float32(0)
            for d in range(width):
                value = _load(x[row, start + d])
                square += value * value
            factor = np.float32(1 / np.sqrt(square / np.float32(width) + np.float32(epsilon)))
            for d in range(width):
                scaled = _load(x[row, start + d]) * factor * (_load(weight[d]) + np.float32(offset))
                _store(out[row], start + d, scaled)


@njit(fastmath=_FASTMATH, error_model="numpy")
def turn(a, x, cos, sin):
    rows, heads, width = a[5], a[6], a[7]
    half = width // 2
    begin, end = _share(a, rows)
    for row in range(begin, end):
        for head in range(heads):
            start = head * width
            for d in range(half):
                left, right = _load(x[row, start + d]), _load(x[row, start + half + d])
                _store(x[row], start + d, left * _load(cos[row, d]) - right * _load(sin[row, d]))
                _store(
                    x[row],
                    start + half + d,
                    right * _load(cos[row, half + d]) + left * _load(sin[row, half + d]),
                )


@njit(fastmath=_FASTMATH, error_model="numpy", inline="always")
def _activate(x, kind):
    if kind == SILU:
        return x / (np.float32(1) + _exp(-x))
    # 0.5 (1 + tanh u) is the logistic function of 2u (Hendrycks & Gimpel 2016, the tanh form of GELU).
    u = np.float32(1.5957691216057308) * (x + np.float32(0.044715) * x * x * x)
    return x / (np.float32(1) + _exp(-u))


@njit(fastmath=_FASTMATH, error_model="numpy")
def gate(a, both, out):
    rows, width, kind = a[4], a[5], a[6]
    begin, end = _share(a, rows)
    for row in range(begin, end):
        for d in range(width):
            _store(out[row], d, _activate(_load(both[row, d]), kind) * _load(both[row, width + d]))


@njit(fastmath=_FASTMATH, error_model="numpy")
def quantise(a, x):
    rows, width = a[5], a[6]
    codes = carray(pointer(a[3]), (rows, width), np.int8)
    scales = carray(pointer(a[4]), (rows,), np.float32)
    begin, end = _share(a, rows)
    for row in range(begin, end):
        largest = np.float32(0)
        for d in range(width):
            largest = max(largest, abs(_load(x[row, d])))
        # NaN would vanish in an integer: the row's scale carries it on.
        check = np.float32(0)
        for d in range(width):
            check += _load(x[row, d]) * np.float32(0)
        scales[row] = largest / np.float32(127) + check
        factor = np.float32(127) / largest if largest > 0 else np.float32(0)
        for d in range(width):
            value = _load(x[row, d]) * factor
            codes[row, d] = np.int8(np.floor(value + np.float32(0.5)))


@njit(fastmath=_FASTMATH, error_model="numpy")
def finish(a, bias, residual, out):
    rows, width, has_bias, kind, has_residual = a[7], a[8], a[9], a[10], a[11]
    products = carray(pointer(a[2]), (rows, width), np.float32)
    scales = carray(pointer(a[3]), (rows,), np.float32)
    begin, end = _share(a, rows)
    for row in range(begin, end):
        scale = scales[row]
        for d in range(width):
            products[row, d] *= scale
        if has_bias:
            for d in range(width):
                products[row, d] += _load(bias[d])
        if kind >= 0:
            for d in range(width):
                products[row, d] = _activate(products[row, d], kind)
        if has_residual:
            for d in range(width):
                products[row, d] += _load(residual[row, d])
        for d in range(width):
            _store(out[row], d, products[row, d])


@njit(error_model="numpy")  # no sum may be reordered: the bits are those of oneDNN
def multiply(a, bias, residual, out):
    weights, x, inputs, outputs, has_bias, has_residual = a[2], a[3], a[7], a[8], a[9], a[10]
    sums = np.empty(vectors.PANEL, np.float32)
    begin, end = _share(a, (outputs + vectors.PANEL - 1) // vectors.PANEL)
    for panel in range(begin, end):
        first = panel * vectors.PANEL
        count = min(vectors.PANEL, outputs - first)
        vectors.multiply_panel(weights + first * inputs * 2, x, sums.ctypes.data, inputs // 2)
        if has_bias:
            for n in range(count):
                sums[n] += _load(bias[first + n])
        if has_residual:
            for n in range(count):
                sums[n] += _load(residual[first + n])
        for n in range(count):
            _store(out, first + n, sums[n])


@njit(fastmath=_FASTMATH, error_model="numpy")
def activate(a, x):
    rows, width, kind = a[3], a[4], a[5]
    begin, end = _share(a, rows)
    for row in range(begin, end):
        for d in range(width):
            _store(x[row], d, _activate(_load(x[row, d]), kind))


@njit(fastmath=_FASTMATH, error_model="numpy")
def centre(a, x, weight, bias, out):
    rows, width, epsilon = a[6], a[7], np.int64(a[8]).view(np.float64)
    begin, end = _share(a, rows)
    for row in range(begin, end):
        total = np.float32(0)
        for d in range(width):
            total += _load(x[row, d])
        mean = total / np.float32(width)
        square = np.float32(0)
        for d in range(width):
            value = _load(x[row, d]) - mean
            square += value * value
        factor = np.float32(1 / np.sqrt(square / np.float32(width) + np.float32(epsilon)))
        for d in range(width):
            value = (_load(x[row, d]) - mean) * factor
            _store(out[row], d, value * _load(weight[d]) + _load(bias[d]))
