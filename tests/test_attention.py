"""Attention over the paged cache, against softmax(QKᵀ/√d)V in float64, however a text was cut into steps."""

import random

import pytest
import torch

from engine.generation.attention import PagedAttention
from engine.generation.cache import CacheShape, KVCache
from engine.generation.scheduler import Chunk
from engine.generation.sequence import Sequence
from engine.generation.step import lay_out
from engine.types import Sampling

CPU = torch.device("cpu")
BLOCK = 32
# Largest difference from float64; values are about 1.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1.5e-2}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
# Query heads, key heads, width; all widths that models have, and odd ones.
SHAPES = pytest.mark.parametrize(
    ("heads", "kv_heads", "width"),
    [
        (4, 4, 8),
        (4, 4, 64),
        (8, 2, 16),
        (7, 1, 64),
        (6, 3, 80),
        (14, 2, 64),
        (3, 1, 36),
        (4, 2, 128),
        (2, 1, 256),
    ],
)


class Texts:
    """Random queries, keys and values of some texts, a cache in which they lie, and what attention gives."""

    LAYER, LAYERS = 1, 2

    def __init__(
        self, dtype, heads, kv_heads, width, *, num_blocks=40, seed=0, scale=None, window=0, size=1.0
    ):
        torch.manual_seed(seed)
        self.dtype, self.heads, self.kv_heads, self.width = dtype, heads, kv_heads, width
        self.scale, self.window, self.size = scale or width**-0.5, window, size
        self.cache = KVCache(CacheShape(self.LAYERS, kv_heads, width), num_blocks, dtype)
        for tensor in (*self.cache.keys, *self.cache.values):
            tensor.fill_(torch.nan)  # what was never written must never be read
        self.attention = PagedAttention(self.cache, heads)
        self.free = list(range(num_blocks))
        random.Random(seed).shuffle(self.free)
        self.rows, self.results = {}, {}

    def text(self, length, *, like=None, shared=0):
        """A text with blocks of its own but for the `shared` first tokens, which are another's."""
        sequence = Sequence([0] * length, Sampling(), 1)
        kept = shared // BLOCK
        blocks = [self.free.pop() for _ in range(-(-length // BLOCK) - kept)]
        sequence.blocks = (like.blocks[:kept] if like else []) + blocks
        columns = self.heads + 2 * self.kv_heads
        rows = (self.size * torch.randn(length, columns, self.width)).to(self.dtype)
        if like:
            rows[:shared] = self.rows[like][:shared]
        self.rows[sequence] = rows
        self.results[sequence] = torch.full((length, self.heads, self.width), torch.nan, dtype=self.dtype)
        return sequence

    def step(self, *chunks, gap=0):
        """Compute `(sequence, start, count)` in one step, its columns `gap` apart in a wider matrix."""
        plan = [Chunk(*chunk) for chunk in chunks]
        ordered = sorted(plan, key=lambda chunk: chunk.count > 1)
        rows = torch.cat([self.rows[it.sequence][it.start : it.start + it.count] for it in ordered])
        heads, width, kv_heads = self.heads, self.width, self.kv_heads
        spaces = torch.full((len(rows), gap), torch.nan, dtype=self.dtype)
        parts = [rows[:, :heads], rows[:, heads : heads + kv_heads], rows[:, heads + kv_heads :]]
        flat = torch.cat([x for part in parts for x in (spaces, part.flatten(1))], 1)
        starts = (gap, 2 * gap + heads * width, 3 * gap + (heads + kv_heads) * width)
        self.attention.begin(lay_out(plan, BLOCK))
        self.last, self.last_places = flat[None].contiguous(), (starts, self.LAYER, self.scale, self.window)
        out = self.attention(self.last, *self.last_places)
        assert out.shape == (1, len(rows), heads * width)
        done = 0
        for it in ordered:
            given = out[0, done : done + it.count].unflatten(1, (heads, width))
            self.results[it.sequence][it.start : it.start + it.count] = given
            done += it.count
        return out

    def expected(self, sequence):
        """`[tokens, heads, width]` float64."""
        rows = self.rows[sequence].double()
        groups = self.heads // self.kv_heads
        query = rows[:, : self.heads]
        key, value = (part.repeat_interleave(groups, 1) for part in rows[:, self.heads :].chunk(2, 1))
        scores = torch.einsum("qhd,khd->hqk", query, key) * self.scale
        place = torch.arange(len(rows))
        hidden = place[None] > place[:, None]
        if self.window:
            hidden |= place[None] <= place[:, None] - self.window
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        return torch.einsum("hqk,khd->qhd", weights, value)

    def check(self, *sequences, start=0, tolerance=None):
        for sequence in sequences:
            difference = self.results[sequence].double() - self.expected(sequence)
            assert difference[start:].abs().max().item() < (tolerance or TOLERANCE[self.dtype])


@DTYPES
@SHAPES
@pytest.mark.parametrize("window", [0, 20])
class TestEveryShape:
    def test_a_whole_prompt_at_once(self, dtype, heads, kv_heads, width, window):
        texts = Texts(dtype, heads, kv_heads, width, window=window)
        sequences = [texts.text(length) for length in (2, 31, 32, 33, 97)]
        texts.step(*((it, 0, it.num_prompt) for it in sequences))
        texts.check(*sequences)

    def test_token_by_token(self, dtype, heads, kv_heads, width, window):
        texts = Texts(dtype, heads, kv_heads, width, window=window)
        sequences = [texts.text(length) for length in (1, 40, 66)]
        for place in range(66):
            texts.step(*((it, place, 1) for it in sequences if place < it.num_prompt))
        texts.check(*sequences)

    def test_chunks_beside_single_tokens_and_a_shared_prefix(self, dtype, heads, kv_heads, width, window):
        texts = Texts(dtype, heads, kv_heads, width, window=window)
        first = texts.text(100)
        texts.step((first, 0, 70), gap=5)
        second = texts.text(90, like=first, shared=64)
        third = texts.text(77, like=first, shared=32)
        texts.step((second, 64, 20), (first, 70, 1), (third, 32, 3), gap=3)
        texts.step((first, 71, 1), (second, 84, 1), (third, 35, 42))
        texts.step((second, 85, 5), (first, 72, 28))
        texts.check(first)
        texts.check(second, start=64)
        texts.check(third, start=32)


@DTYPES
@pytest.mark.parametrize("window", [1, 32, 33, 64, 1000])
def test_a_window_of_any_size(dtype, window):
    texts = Texts(dtype, 4, 2, 16, window=window)
    one, other = texts.text(130), texts.text(50)
    texts.step((one, 0, 45))
    texts.step((one, 45, 60), (other, 0, 49))
    for place in range(105, 130):
        texts.step((one, place, 1), *([(other, 49, 1)] if place == 105 else []))
    texts.check(one, other)


@DTYPES
def test_a_scale_of_the_models_own(dtype):
    texts = Texts(dtype, 4, 2, 16, scale=0.7)
    text = texts.text(60)
    texts.step((text, 0, 40))
    for place in range(40, 60):
        texts.step((text, place, 1))
    texts.check(text, tolerance=TOLERANCE[dtype] * 3)


@DTYPES
def test_scores_so_far_apart_that_exponentials_would_overflow(dtype):
    # Scores of several hundred, of which the largest takes all.
    texts = Texts(dtype, 4, 2, 64, size=30.0)
    text = texts.text(80)
    texts.step((text, 0, 30))
    for place in range(30, 80):
        texts.step((text, place, 1))
    texts.check(text, tolerance={torch.float32: 1e-2, torch.bfloat16: 1.0}[dtype])


@DTYPES
def test_two_threads_compute_what_one_does(dtype):
    def computed(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            texts = Texts(dtype, 6, 3, 64)
            sequences = [texts.text(length) for length in (100, 77, 31, 5, 1)]
            texts.step(*((it, 0, it.num_prompt - 1) for it in sequences[:4]))
            return texts.step(*((it, it.num_prompt - 1, 1) for it in sequences))
        finally:
            torch.set_num_threads(before)

    assert torch.equal(computed(1), computed(2))


@DTYPES
@pytest.mark.parametrize("window", [0, 40])
def test_a_row_has_the_same_bits_alone_and_among_31_others(dtype, window):
    texts = Texts(dtype, 8, 2, 64, num_blocks=120, window=window)
    sequences = [texts.text(3 + 7 * number % 100) for number in range(32)]
    for it in sequences:
        if it.num_prompt > 2:
            texts.step((it, 0, it.num_prompt - 1))
    last = [(it, it.num_prompt - 1, 1) for it in sequences]
    together = texts.step(*last)
    alone = torch.cat([texts.step(chunk) for chunk in last], 1)
    assert torch.equal(together, alone)
    texts.check(*sequences)


@DTYPES
def test_a_chunk_has_the_same_bits_alone_and_beside_others(dtype):
    texts = Texts(dtype, 4, 2, 32)
    one, other, third = texts.text(90), texts.text(50), texts.text(20)
    texts.step((one, 0, 40))
    alone = texts.step((one, 40, 50))
    beside = texts.step((other, 0, 50), (one, 40, 50), (third, 0, 1))
    assert torch.equal(beside[:, 51:], alone)


@DTYPES
@pytest.mark.parametrize("part", ["query", "key", "value"])
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_is_no_number_stays_none_and_with_its_text(dtype, part, broken):
    texts = Texts(dtype, 4, 2, 16)
    sick, well = texts.text(40), texts.text(40)
    heads = {"query": slice(0, 4), "key": slice(4, 6), "value": slice(6, 8)}[part]
    texts.rows[sick][39, heads] = broken
    for sequence in (sick, well):
        texts.step((sequence, 0, 39))
    texts.step((sick, 39, 1), (well, 39, 1))
    texts.check(well)
    assert not texts.results[sick][39].isfinite().any()
    assert texts.results[sick][:39].isfinite().all()


@DTYPES
def test_the_bits_do_not_depend_on_where_the_memory_lies(dtype):
    # A compiler may choose, by how near two arrays lie, between loops that round differently.
    texts = Texts(dtype, 12, 12, 64)
    text = texts.text(92)
    texts.step((text, 0, 91))
    expected = texts.step((text, 91, 1))
    dice, others = random.Random(0), []
    for _ in range(2000):
        others = [*others[-40:], torch.empty(dice.randrange(1, 3000))]
        assert torch.equal(texts.attention(texts.last, *texts.last_places), expected)
