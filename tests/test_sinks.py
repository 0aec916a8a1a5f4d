"""Generating beyond the context: the cache is as if only the kept tokens had ever been there."""

import random

import pytest
import torch

from engine.generation.cache import CacheShape, KVCache
from engine.generation.scheduler import Shift
from engine.generation.sinks import SinkTurner
from engine.types import Sampling

BLOCK = 32
DICE = random.Random(5)
PROMPT = [DICE.randrange(3, 270) for _ in range(100)]
ROTARY = ["llama", "qwen2", "qwen3", "mistral", "gemma"]


class Recording:
    """A runner that keeps, by sequence, what was cached and the logits that came of it."""

    def __init__(self, runner):
        self._runner, self.cache, self.can_slide = runner, runner.cache, runner.can_slide
        self.steps, self.shifts = {}, []

    def run(self, plan):
        self.shifts += plan.shifts
        sequences, logits = self._runner.run(plan)
        for sequence, row in zip(sequences, logits, strict=True):
            kept = sequence.token_ids[:BLOCK] + sequence.token_ids[BLOCK + sequence.num_dropped :]
            self.steps.setdefault(sequence, []).append((sequence.num_dropped, kept, row.clone()))
        return sequences, logits


def recomputed(tiny, kept):
    """Logits after these tokens, side by side from position 0, by transformers without any cache."""
    with torch.no_grad():
        return tiny.model(input_ids=torch.tensor([kept]), use_cache=False).logits[0, -1]


def run(batcher):
    while batcher.has_work:
        batcher.step()


@pytest.fixture(scope="module", params=ROTARY)
def one_layer(request, tiny_models):
    """With one layer the kept keys and values depend on their own tokens alone, so all can be computed anew.

    Livelier weights would magnify how float32 rounds the angles of far positions.
    """
    return tiny_models(request.param, num_hidden_layers=1, initializer_range=0.3)


class TestRotary:
    def test_logits_are_those_of_the_kept_tokens_drop_after_drop(self, one_layer):
        # Given two conversations that begin alike, so that their sinks are one block
        runner = Recording(one_layer.runner)
        batcher = one_layer.batcher(runner, num_blocks=40)
        first, reader = one_layer.ask(batcher, PROMPT, 500)
        second, other = one_layer.ask(batcher, PROMPT[:70], 260, Sampling(temperature=1.0, seed=3))
        run(batcher)

        # Then both write on, and drop a quarter of the context whenever it is full
        assert (reader.finish_reason, len(reader.ids)) == ("length", 500)
        assert (other.finish_reason, len(other.ids)) == ("length", 260)
        assert (first.num_dropped, second.num_dropped) == (6 * 64, 2 * 64)
        assert [shift.by for shift in runner.shifts] == [64] * 8

        # And whenever one looks, the logits are those of sinks and window alone
        for sequence in (first, second):
            steps = runner.steps[sequence]
            edges = [place for place in range(1, len(steps)) if steps[place][0] != steps[place - 1][0]]
            assert len(edges) == sequence.num_dropped // 64
            for place in {*edges, *(edge - 1 for edge in edges), *range(0, len(steps), 29), len(steps) - 1}:
                _, kept, logits = steps[place]
                assert len(kept) <= 256
                assert (logits - recomputed(one_layer, kept)).abs().max() < 1e-4

    def test_the_sinks_of_others_stay_as_they_are(self, one_layer):
        batcher = one_layer.batcher(num_blocks=30)
        one_layer.ask(batcher, PROMPT, 300)
        for _ in range(200):
            batcher.step()
        # Given a sequence that has just dropped tokens
        assert batcher.scheduler.running[0].num_dropped
        sequence, reader = one_layer.ask(batcher, PROMPT)
        run(batcher)
        assert sequence.num_reused == 96
        assert reader.ids == one_layer.continuation(PROMPT)
        assert batcher.pool.num_used == 0


def test_more_layers_go_on_too(tiny_models):
    tiny = tiny_models("llama")
    batcher = tiny.batcher(num_blocks=20)
    _, reader = tiny.ask(batcher, PROMPT, 400)
    run(batcher)
    assert (reader.finish_reason, len(reader.ids)) == ("length", 400)
    assert reader.ids[:40] == tiny.continuation(PROMPT)


def test_learned_positions_end_with_the_context(tiny_models):
    tiny = tiny_models("gpt2")
    assert not tiny.runner.can_slide
    batcher = tiny.batcher()
    _, reader = tiny.ask(batcher, PROMPT, 400)
    run(batcher)
    assert (reader.finish_reason, len(reader.ids)) == ("length", 156)
    assert reader.ids[:40] == tiny.continuation(PROMPT)


def test_frequencies_that_depend_on_the_length_end_with_the_context(tiny_models):
    scaling = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    tiny = tiny_models("llama", rope_parameters=scaling)
    assert SinkTurner.of(tiny.model, tiny_models("llama").runner.cache) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_turning_copies_values_and_rotates_keys_in_every_layer(dtype):
    torch.manual_seed(0)
    cache = KVCache(CacheShape(2, 3, 16), 5, dtype)
    for tensor in (*cache.keys, *cache.values):
        tensor.copy_(torch.randn(tensor.shape))
    before = [tensor.clone() for tensor in (*cache.keys, *cache.values)]
    frequencies = torch.rand(8)
    SinkTurner(frequencies, cache).turn(Shift(None, ((1, 3), (2, 2)), by=64))

    # Keys as pairs of halves: complex numbers, turned by the angle
    angle = torch.polar(torch.ones(8, dtype=torch.float64), 64 * frequencies.double())
    tolerance = {torch.float32: 2e-5, torch.bfloat16: 2e-2}[dtype]
    for layer in range(2):
        keys, values = cache.keys[layer], cache.values[layer]
        for source, target in ((1, 3), (2, 2)):
            left, right = before[layer][source].double().chunk(2, 1)
            turned = torch.complex(left, right) * angle[:, None]
            expected = torch.cat([turned.real, turned.imag], 1)
            assert (keys[target].double() - expected).abs().max() < tolerance
            assert torch.equal(values[target], before[2 + layer][source])
        untouched = [0, 1, 4]
        assert torch.equal(keys[untouched], before[layer][untouched])
        assert torch.equal(values[untouched], before[2 + layer][untouched])
