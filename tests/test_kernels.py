"""The row-wise kernels and packed products against plain torch: any size, one thread or two, NaN and all."""

import math
import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from engine.generation.attention import PagedAttention
from engine.generation.cache import CacheShape, KVCache
from engine.generation.kernels import GELU_TANH, SILU, kernels_for
from engine.generation.linear import IntegerLinear, PackedLinear
from engine.generation.operators import columns, gate, norm, norm_rows, rotate_rows, rotation
from engine.generation.scheduler import Chunk
from engine.generation.sequence import Sequence
from engine.generation.step import lay_out
from engine.types import Sampling

# Largest relative difference from what torch computes in float64: one rounding of the result and a little.
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-8}
DTYPES = pytest.mark.parametrize("dtype", ROUNDING, ids=str)
# The last is enough work to be shared between threads, by rows that do not divide.
SIZES = pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 64), (3, 31), (7, 258), (33, 1026)])


@pytest.fixture(autouse=True, params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random(*shape, dtype):
    return torch.randn(*shape).to(dtype)


def assert_near(found, expected, tolerance):
    """`expected` is float64; infinite and broken values are where they should be."""
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def normed(x, weight, epsilon, offset):
    wide = x.double()
    factor = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return wide * factor * (weight.double() + offset)


@DTYPES
class TestNorm:
    @SIZES
    @pytest.mark.parametrize(("epsilon", "offset"), [(1e-6, 0.0), (1e-2, 1.0)])
    def test_it_is_the_formula(self, dtype, rows, width, epsilon, offset):
        x, weight = random(1, rows, width, dtype=dtype), random(width, dtype=dtype)
        assert_near(norm(x, weight, epsilon, offset), normed(x, weight, epsilon, offset), ROUNDING[dtype])

    def test_heads_in_the_middle_of_wider_rows_are_done_in_place(self, dtype):
        x, weight = random(1, 37, 500, dtype=dtype), random(24, dtype=dtype)
        before = x.clone()
        norm_rows(x, x, 13, 15, 24, weight, 1e-6, 0.0, rows=37)
        part = slice(13, 13 + 15 * 24)
        heads = before[..., part].unflatten(-1, (15, 24))
        assert_near(x[..., part], normed(heads, weight, 1e-6, 0.0).flatten(-2), ROUNDING[dtype])
        x[..., part] = before[..., part]
        assert torch.equal(x, before)

    def test_what_is_not_contiguous_is_read_right(self, dtype):
        x, weight = random(1, 64, 9, dtype=dtype).transpose(1, 2), random(64, dtype=dtype)
        assert_near(norm(x, weight, 1e-6, 0.0), normed(x, weight, 1e-6, 0.0), ROUNDING[dtype])

    @pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
    def test_a_broken_row_stays_broken_and_alone(self, dtype, broken):
        x, weight = random(1, 40, 300, dtype=dtype), random(300, dtype=dtype)
        x[0, 17, 5] = broken
        found = norm(x, weight, 1e-6, 0.0)
        assert_near(found, normed(x, weight, 1e-6, 0.0), ROUNDING[dtype])
        assert not found[0, 17].isfinite().all()


@DTYPES
class TestTurn:
    @pytest.mark.parametrize(
        ("rows", "heads", "width", "start", "rest"),
        [(1, 1, 2, 0, 0), (5, 3, 16, 7, 9), (33, 12, 64, 64, 1), (129, 2, 80, 0, 11)],
    )
    def test_it_rotates_its_columns_and_no_others(self, dtype, rows, heads, width, start, rest):
        x = random(1, rows, start + heads * width + rest, dtype=dtype)
        angle = 100 * torch.rand(1, rows, width)
        cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
        before = x.clone()
        rotate_rows(x, start, heads, width, cos, sin)
        part = columns(before, start, heads * width).unflatten(-1, (heads, width)).transpose(1, 2)
        expected = rotation(part.double(), cos.double(), sin.double()).transpose(1, 2).flatten(-2)
        assert_near(columns(x, start, heads * width), expected, ROUNDING[dtype])
        columns(x, start, heads * width).copy_(columns(before, start, heads * width))
        assert torch.equal(x, before)

    @pytest.mark.parametrize("broken", [math.nan, math.inf])
    def test_a_broken_value_stays_broken_with_its_pair(self, dtype, broken):
        x, angle = random(1, 9, 64, dtype=dtype), torch.rand(1, 9, 64)
        x[0, 4, 3] = broken
        rotate_rows(x, 0, 1, 64, angle.cos().to(dtype), angle.sin().to(dtype))
        assert (~x.isfinite()).nonzero().tolist() == [[0, 4, 3], [0, 4, 35]]


def activated(x, kind):
    return functional.silu(x) if kind == SILU else functional.gelu(x, approximate="tanh")


KINDS = pytest.mark.parametrize("kind", [SILU, GELU_TANH], ids=["silu", "gelu"])


@DTYPES
@KINDS
class TestGate:
    @SIZES
    def test_it_is_the_activation_times_the_other_half(self, dtype, kind, rows, width):
        both = 4 * random(1, rows, 2 * width, dtype=dtype)
        left, right = both.double().chunk(2, -1)
        assert_near(gate(both, kind), activated(left, kind) * right, ROUNDING[dtype])

    def test_large_values_neither_overflow_nor_vanish(self, dtype, kind):
        left = torch.tensor([-1e4, -200.0, -90.0, -20.0, 0.0, 20.0, 90.0, 200.0, 1e4]).to(dtype)
        both = torch.cat([left, torch.ones_like(left)])[None, None]
        assert_near(gate(both, kind)[0, 0], activated(left.double(), kind), ROUNDING[dtype])

    @pytest.mark.parametrize("place", [3, 70])
    @pytest.mark.parametrize("broken", [math.nan, math.inf])
    def test_a_broken_value_stays_broken_and_alone(self, dtype, kind, broken, place):
        both = random(1, 9, 134, dtype=dtype)
        both[0, 4, place] = broken
        assert (~gate(both, kind).isfinite()).nonzero().tolist() == [[0, 4, 3]]


@DTYPES
class TestQuantise:
    def quantised(self, x):
        rows, width = x.shape
        codes, scales = torch.empty(rows, width, dtype=torch.int8), torch.empty(rows)
        kernels_for(x.dtype).quantise(
            rows * width, x.data_ptr(), codes.data_ptr(), scales.data_ptr(), rows, width
        )
        return codes, scales

    @SIZES
    def test_codes_times_scale_are_the_row(self, dtype, rows, width):
        x = random(rows, width, dtype=dtype)
        codes, scales = self.quantised(x)
        assert torch.equal(codes.abs().amax(1), torch.full((rows,), 127, dtype=torch.int8))
        error = (codes.double() * scales[:, None] - x.double()).abs()
        assert (error <= 0.501 * scales[:, None]).all()

    def test_zeros_stay_zeros(self, dtype):
        codes, scales = self.quantised(torch.zeros(3, 40, dtype=dtype))
        assert not codes.any()
        assert not scales.any()

    @pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("place", [0, 500, 998])
    def test_what_is_no_number_is_carried_by_the_scale(self, dtype, broken, place):
        x = random(21, 999, dtype=dtype)
        x[13, place] = broken
        _, scales = self.quantised(x)
        assert (~scales.isfinite()).nonzero().flatten().tolist() == [13]


@DTYPES
@pytest.mark.parametrize("kind", [-1, SILU, GELU_TANH])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("has_residual", [False, True])
def test_finish_scales_adds_activates(dtype, kind, has_bias, has_residual):
    for rows, width in [(1, 1), (7, 258), (33, 1027)]:
        products, scales = torch.randn(rows, width), torch.rand(rows)
        scales[rows // 2] *= math.nan if rows > 1 else 1
        bias, residual = random(width, dtype=dtype), random(rows, width, dtype=dtype)
        out = torch.empty(rows, width, dtype=dtype)
        expected = products.double() * scales.double()[:, None]
        expected = expected + bias.double() if has_bias else expected
        expected = activated(expected, kind) if kind >= 0 else expected
        expected = expected + residual.double() if has_residual else expected
        kernels_for(dtype).finish(
            rows * width, products.data_ptr(), scales.data_ptr(), bias.data_ptr() * has_bias,
            residual.data_ptr() * has_residual, out.data_ptr(), rows, width, int(has_bias), kind,
            int(has_residual),
        )  # fmt: skip
        assert_near(out, expected, ROUNDING[dtype])


@DTYPES
def test_keep_puts_every_token_where_its_slot_says_and_nothing_else(dtype):
    # Given a cache full of something else, and chunks of three texts whose blocks lie anywhere
    kv_heads, width = 3, 48
    cache = KVCache(CacheShape(2, kv_heads, width), 9, dtype)
    for tensor in (*cache.keys, *cache.values):
        tensor.copy_(torch.randn(tensor.shape))
    expected = [tensor.clone() for tensor in (*cache.keys, *cache.values)]
    chunks = []
    for blocks, start, count in [([7, 2, 4], 64, 1), ([5, 0], 33, 7), ([8, 1, 3], 5, 60)]:
        sequence = Sequence([0] * (start + count), Sampling(), 1)
        sequence.blocks = blocks
        chunks.append(Chunk(sequence, start, count))

    # When the second layer keeps their tokens
    rows = random(68, 9 * width, dtype=dtype)
    attention = PagedAttention(cache, kv_heads)
    attention.begin(lay_out(chunks, cache.block_size))
    attention(rows[None], (0, 3 * width, 6 * width), 1, 0.1, 0)

    # Then each is in its block, and nothing else has changed
    places = [
        (chunk.sequence.blocks, it)
        for chunk in chunks
        for it in range(chunk.start, chunk.start + chunk.count)
    ]
    for row, (blocks, place) in zip(rows, places, strict=True):
        _, key, value = row.view(3, kv_heads, width)
        block, offset = blocks[place // 32], place % 32
        expected[1][block, :, :, offset] = key
        expected[3][block, :, offset] = value
    for tensor, kept in zip((*cache.keys, *cache.values), expected, strict=True):
        assert torch.equal(tensor, kept)


def layers(dtype, inputs, outputs):
    """Each kind of layer, with the error that it may have."""
    weight = (torch.randn(outputs, inputs) / math.sqrt(inputs)).to(dtype)
    bias = random(outputs, dtype=dtype)
    return weight, bias, {PackedLinear: 2 * ROUNDING[dtype], IntegerLinear: 6e-2}


@DTYPES
@pytest.mark.parametrize("make", [PackedLinear, IntegerLinear])
class TestLinear:
    @pytest.mark.parametrize("activation", [None, "silu", "gelu_tanh"])
    @pytest.mark.parametrize("has_bias", [False, True])
    def test_it_is_the_product(self, dtype, make, activation, has_bias):
        for rows, inputs, outputs in [(1, 64, 96), (5, 33, 17), (40, 100, 257)]:
            weight, bias, tolerances = layers(dtype, inputs, outputs)
            x, residual = random(1, rows, inputs, dtype=dtype), random(1, rows, outputs, dtype=dtype)
            layer = make(weight.clone(), bias if has_bias else None, activation)
            expected = functional.linear(x.double(), weight.double(), bias.double() if has_bias else None)
            if activation is None:
                assert_near(layer(x, residual), expected + residual.double(), tolerances[make])
            else:
                expected = activated(expected, {"silu": SILU, "gelu_tanh": GELU_TANH}[activation])
            assert_near(layer(x), expected, tolerances[make])

    @pytest.mark.parametrize("broken", [math.nan, math.inf])
    def test_a_broken_row_stays_broken_and_alone(self, dtype, make, broken):
        weight, bias, _ = layers(dtype, 64, 48)
        x = random(1, 9, 64, dtype=dtype)
        x[0, 4, 10] = broken
        found = make(weight, bias, None)(x)
        assert not found[0, 4].isfinite().any()
        assert found[0, torch.arange(9) != 4].isfinite().all()


@pytest.mark.parametrize(
    ("make", "dtype"),
    [(PackedLinear, torch.bfloat16), (IntegerLinear, torch.bfloat16), (IntegerLinear, torch.float32)],
)
@pytest.mark.parametrize(("inputs", "outputs"), [(96, 80), (256, 1024), (768, 768), (768, 2304), (1027, 515)])
def test_a_row_has_the_same_bits_alone_and_among_31_others(make, dtype, inputs, outputs):
    weight, bias, _ = layers(dtype, inputs, outputs)
    layer = make(weight, bias, "gelu_tanh")
    plain = make(weight, None, None)
    rows, residual = random(1, 32, inputs, dtype=dtype), random(1, 32, outputs, dtype=dtype)
    together, added = layer(rows), plain(rows, residual)
    for number in range(32):
        one = slice(number, number + 1)
        assert torch.equal(layer(rows[:, one]), together[:, one])
        assert torch.equal(plain(rows[:, one], residual[:, one]), added[:, one])
    some = slice(3, 20)
    assert torch.equal(layer(rows[:, some]), together[:, some])


SMALLER_TEAM = """
import torch
from engine.generation.operators import norm
torch.set_num_threads(2)
x = torch.randn(1, 512, 512)
expected = torch.nn.functional.rms_norm(x, (512,), eps=1e-6)
assert torch.allclose(norm(x, torch.ones(512), 1e-6, 0.0), expected, atol=1e-5)
"""


def test_a_team_smaller_than_asked_for_leaves_nothing_out():
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    subprocess.run([sys.executable, "-c", SMALLER_TEAM], env=environment, check=True, timeout=60)
