"""The runner: logits in every precision, which models it takes, and how much cache they get."""

import pytest
import torch
import transformers
from torch.nn.functional import cosine_similarity

from engine.errors import ModelUnusable
from engine.generation import model as models
from engine.generation.cache import CacheShape
from engine.generation.model import LoadedModel, choose_device, choose_precision, load_model
from engine.generation.runner import CpuRunner, num_blocks
from engine.generation.scheduler import Chunk, Plan
from engine.generation.sequence import Sequence
from engine.prompt import encode
from engine.types import ChatTurn, Sampling

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TEXT = [7 * place % 270 + 3 for place in range(100)]


def logits_of(runner, ids, chunk=100):
    """Logits after each chunk of the text, `[chunks, vocab]`."""
    found = []
    sequence = Sequence([], Sampling(), 1)
    sequence.blocks = list(range(-(-len(ids) // runner.cache.block_size)))
    for start in range(0, len(ids), chunk):
        sequence.token_ids = list(ids[: start + chunk])
        with torch.inference_mode():
            sequences, logits = runner.run(Plan([Chunk(sequence, start, len(sequence.token_ids) - start)]))
        assert sequences == [sequence]
        found.append(logits[0].float())
    return torch.stack(found)


def reference(tiny, ids):
    with torch.no_grad():
        return tiny.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


class TestLogits:
    @pytest.mark.parametrize("chunk", [1, 3, 50])
    def test_float32_is_transformers_own_to_the_last_digits(self, tiny, chunk):
        found = logits_of(tiny.runner, TEXT, chunk)
        expected = reference(tiny, TEXT)[[*range(chunk - 1, 99, chunk), 99][: len(found)]]
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()

    @pytest.mark.parametrize(("precision", "least"), [("bfloat16", 0.99), ("int8", 0.97)])
    def test_fewer_bits_point_the_same_way(self, tiny_models, tiny, precision, least):
        # Given the weights that a new model begins with: lively ones magnify every rounding
        calm = tiny_models(tiny.name, initializer_range=0.05)
        found = logits_of(CpuRunner(calm.loaded(precision), 2**22, 2**20), TEXT, 9)
        expected = reference(calm, TEXT)[[*range(8, 99, 9), 99]]
        likeness = cosine_similarity(found, expected)
        assert likeness.min() > least
        assert likeness.max() < 1 - 1e-7, "it is not float32 in disguise"

    def test_a_prompts_rows_that_nobody_samples_have_no_logits(self, tiny_models):
        tiny = tiny_models("llama")
        sequence = Sequence(TEXT, Sampling(), 1)
        sequence.blocks = [0, 1, 2, 3]
        with torch.inference_mode():
            sequences, logits = tiny.runner.run(Plan([Chunk(sequence, 0, 60)]))
        assert sequences == []
        assert logits.shape == (0, tiny.vocabulary)

    def test_the_weights_are_taken_over(self, tiny_models):
        loaded = tiny_models("llama").loaded()
        CpuRunner(loaded, 2**20, 2**20)
        assert loaded.model.lm_head.weight.numel() == 0

    def test_the_starter_in_bfloat16_writes_mostly_what_it_writes_in_float32(self):
        turns = [ChatTurn("user", "How long do I have to return something?")]
        written = []
        for precision in ("float32", "bfloat16"):
            loaded = load_model(None, CPU, precision)
            assert next(loaded.model.parameters()).dtype is getattr(torch, precision)
            ids = encode(loaded.tokenizer, turns)
            start, runner = len(ids), CpuRunner(loaded, 2**24, 2**20)
            for _ in range(30):
                ids.append(int(logits_of(runner, ids, len(ids))[0].argmax()))
            written.append(ids[start:])
        same = [a == b for a, b in zip(*written, strict=True)]
        assert len(set(written[0])) > 10
        assert sum(same) >= 25


class TestPrecision:
    @pytest.mark.parametrize(("can", "expected"), [(True, "bfloat16"), (False, "float32")])
    def test_a_cpu_gets_bfloat16_if_it_multiplies_it_itself(self, monkeypatch, can, expected):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: can)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert choose_precision(None, CPU) == expected

    @pytest.mark.parametrize("wanted", ["float32", "bfloat16", "int8"])
    def test_what_is_wanted_is_taken(self, wanted):
        assert choose_precision(wanted, CPU) == wanted

    def test_a_gpu_gets_bfloat16_and_no_integers(self):
        assert choose_precision(None, CUDA) == "bfloat16"
        assert choose_precision("float32", CUDA) == "float32"
        with pytest.raises(ModelUnusable, match="int8 runs on a CPU only; on a GPU leave it out"):
            choose_precision("int8", CUDA)

    @pytest.mark.parametrize("can", [True, False])
    def test_integers_are_computed_in_the_machines_best(self, monkeypatch, model_directory, can):
        monkeypatch.setattr(models, "_multiplies_bfloat16", lambda: can)
        loaded = load_model(str(model_directory), CPU, "int8")
        assert loaded.precision == "int8"
        assert next(loaded.model.parameters()).dtype is (torch.bfloat16 if can else torch.float32)

    def test_a_model_is_loaded_in_the_precision_that_is_named(self, model_directory):
        for name in ("float32", "bfloat16"):
            loaded = load_model(str(model_directory), CPU, name)
            assert loaded.precision == name
            assert {it.dtype for it in loaded.model.parameters()} == {getattr(torch, name)}

    def test_the_named_device_is_taken(self):
        assert choose_device("cpu") == CPU

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    @pytest.mark.parametrize("device", ["cuda:1", "gpu"])
    def test_a_device_that_is_not_there_is_named(self, device):
        with pytest.raises(ModelUnusable, match=device):
            choose_device(device)


SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}


def loaded_of(model):
    return LoadedModel("m", model.eval(), None, 64, CPU, frozenset(), "float32")


class TestArchitectures:
    @pytest.mark.parametrize(
        "build",
        [
            lambda: transformers.OpenAIGPTLMHeadModel(
                transformers.OpenAIGPTConfig(vocab_size=50, n_embd=32, n_layer=1, n_head=2)
            ),
            lambda: transformers.BloomForCausalLM(
                transformers.BloomConfig(vocab_size=50, hidden_size=32, n_layer=1, n_head=2)
            ),
        ],
        ids=["openai-gpt", "bloom"],
    )
    def test_attention_that_cannot_be_replaced_is_refused_with_the_way_out(self, build):
        model = build()
        with pytest.raises(ModelUnusable) as caught:
            CpuRunner(loaded_of(model), 2**20, 64)
        assert type(model).__name__ in str(caught.value)
        assert "GPT-2, Llama, Qwen, Mistral, Gemma" in str(caught.value)
        assert "FRONTDESK_GENERATOR=remote" in str(caught.value)

    def test_capped_attention_is_refused_with_the_way_out(self):
        config = transformers.Gemma2Config(**SMALL, attn_logit_softcapping=50.0)
        with pytest.raises(ModelUnusable, match=r"caps its attention.*FRONTDESK_GENERATOR=remote"):
            CpuRunner(loaded_of(transformers.Gemma2ForCausalLM(config)), 2**20, 64)

    def test_learned_sinks_are_refused_with_the_way_out(self):
        config = transformers.GptOssConfig(**SMALL, num_local_experts=2, num_experts_per_tok=1)
        with pytest.raises(ModelUnusable, match=r"learned sinks.*FRONTDESK_GENERATOR=remote"):
            CpuRunner(loaded_of(transformers.GptOssForCausalLM(config)), 2**20, 64)


class TestCacheSize:
    SHAPE = CacheShape(layers=2, kv_heads=3, width=8)

    def test_a_token_takes_keys_and_values_of_every_layer(self):
        assert self.SHAPE.token_bytes(torch.float32) == 2 * 2 * 3 * 8 * 4
        assert self.SHAPE.token_bytes(torch.bfloat16) == 2 * 2 * 3 * 8 * 2

    @pytest.mark.parametrize(
        ("cache_bytes", "max_tokens", "expected"),
        [
            (384 * 32 * 10, 10**9, 10),
            (384 * 32 * 10 - 1, 10**9, 9),
            (2**30, 65, 3),
            (1, 10**9, 1),
            (2**30, 1, 1),
        ],
    )
    def test_the_cache_is_what_fits_and_can_be_used(self, cache_bytes, max_tokens, expected):
        assert num_blocks(self.SHAPE, torch.float32, cache_bytes, max_tokens, 32) == expected

    def test_the_shape_is_read_from_the_configuration(self, tiny):
        shape, config = tiny.runner.cache.shape, tiny.model.config
        assert shape.layers == 2
        assert shape.kv_heads == getattr(config, "num_key_value_heads", 4)
        assert shape.width == getattr(config, "head_dim", None) or 8

    def test_the_pool_is_as_large_as_it_says(self, tiny_models):
        cache = CpuRunner(tiny_models("llama").loaded(), 2**21, 2**20).cache
        token_bytes = cache.shape.token_bytes(torch.float32)
        assert cache.num_tokens == cache.num_blocks * 32
        assert cache.num_bytes == cache.num_tokens * token_bytes
        assert 2**21 - 32 * token_bytes < cache.num_bytes <= 2**21
