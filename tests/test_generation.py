"""Our own generation: what one conversation gets does not depend on who else is in the batch."""

import asyncio
import json
import shutil
import time
from contextlib import aclosing

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from engine.errors import ContextTooLong, ModelUnusable, Unavailable
from engine.generation import Ended
from engine.generation.detokeniser import Detokeniser
from engine.generation.local import LocalGenerator
from engine.generation.model import check_directory, load_model
from engine.generation.sampler import forbid, penalise, sample
from engine.prompt import encode
from engine.types import ChatTurn, Sampling

CPU = torch.device("cpu")
HELLO = [ChatTurn("user", "hello there")]
# Weights this large make the next token depend on every earlier one and on its position: a mistake in
# cache, mask or positions changes the text.
LIVELY = {"initializer_range": 0.6}
SHARED = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    **LIVELY,
}


def build(architecture, vocabulary, end):
    torch.manual_seed(1)
    ids = {"vocab_size": vocabulary, "bos_token_id": end, "eos_token_id": end}
    match architecture:
        case "gpt2":
            sizes = {"n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 4}
            return GPT2LMHeadModel(GPT2Config(**ids, **sizes, **LIVELY))
        case "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(**ids, **SHARED, head_dim=8))
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**ids, **SHARED))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models this small wait longer for a second thread than it helps."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["gpt2", "qwen3", "llama"])
def lively_directory(request, model_directory, tmp_path_factory):
    """A small random model of each architecture, with large weights, beside the fixture's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(model_directory)
    directory = tmp_path_factory.mktemp(request.param)
    build(request.param, len(tokenizer), tokenizer.eos_token_id).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
async def lively(lively_directory):
    made = LocalGenerator(load_model(str(lively_directory), CPU))
    yield made
    await made.close()


async def collect(generator, turns, **sampling):
    """The whole text, and how it ended."""
    text, ended = "", None
    async for item in generator.generate(turns, Sampling(**sampling)):
        if isinstance(item, Ended):
            ended = item
        else:
            text += item
    return text, ended


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


class TestText:
    async def test_greedy_text_is_what_transformers_generates(self, lively, lively_directory):
        text, ended = await collect(lively, HELLO, max_tokens=40, ignore_eos=True)

        loaded = load_model(str(lively_directory), CPU)
        prompt = torch.tensor([encode(loaded.tokenizer, HELLO)])
        written = loaded.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            min_new_tokens=40,
            max_new_tokens=40,
        )
        ids = written[0, prompt.shape[1] :].tolist()
        assert len(set(ids)) > 5, "a model that repeats itself proves nothing"
        expected = loaded.tokenizer.decode(ids, skip_special_tokens=True)
        assert text.rstrip("\ufffd") == expected.rstrip("\ufffd") != ""
        assert (ended.usage.prompt_tokens, ended.usage.completion_tokens) == (prompt.shape[1], 40)

    async def test_conversations_in_one_batch_get_the_text_that_each_gets_alone(self, lively):
        # Given conversations of different lengths, each answered alone
        conversations = [[ChatTurn("user", "fox " * length)] for length in (1, 40, 7, 20, 2)]
        limits = (60, 25, 45, 10, 30)
        alone = [
            await collect(lively, turns, max_tokens=limit)
            for turns, limit in zip(conversations, limits, strict=True)
        ]

        # When they start one after another and end at different times
        async def start(number):
            await asyncio.sleep(number * 0.01)
            return await collect(lively, conversations[number], max_tokens=limits[number])

        together = asyncio.gather(*(start(number) for number in range(5)))
        most = 0
        while not together.done():
            most = max(most, lively.loop.running)
            await asyncio.sleep(0.002)

        # Then nothing differs
        assert most > 1, "they never shared a batch"
        assert await together == alone
        assert len({text for text, _ in alone}) == 5

    async def test_more_conversations_than_the_batch_holds_are_all_answered(self, loaded_model):
        generator = LocalGenerator(loaded_model, max_batch=2)
        try:
            asked = (collect(generator, HELLO, max_tokens=5, ignore_eos=True) for _ in range(7))
            answers = await asyncio.gather(*asked)
        finally:
            await generator.close()
        assert len(set(answers)) == 1
        assert answers[0][1].usage.completion_tokens == 5

    async def test_the_same_seed_gives_the_same_text(self, lively):
        sampling = {"max_tokens": 30, "temperature": 1.0, "ignore_eos": True}
        first = await collect(lively, HELLO, seed=7, **sampling)
        again, other = await asyncio.gather(
            collect(lively, HELLO, seed=7, **sampling), collect(lively, HELLO, seed=8, **sampling)
        )
        assert first == again != other


class TestLimits:
    async def test_max_tokens_ends_the_answer_with_length(self, generator):
        _, ended = await collect(generator, HELLO, max_tokens=7, ignore_eos=True)
        assert (ended.finish_reason, ended.usage.completion_tokens) == ("length", 7)

    async def test_without_max_tokens_the_answer_ends_with_the_context(self, generator):
        _, ended = await collect(generator, HELLO, ignore_eos=True)
        assert ended.usage.prompt_tokens + ended.usage.completion_tokens == generator.context_length == 256

    async def test_the_end_token_stops_unless_it_is_too_early_or_ignored(self, loaded_model):
        # Given a model that wants to end at once
        end = loaded_model.tokenizer.eos_token_id
        loaded_model.model.lm_head = Ending(loaded_model.model.lm_head, end)
        generator = LocalGenerator(loaded_model)
        try:
            text, ended = await collect(generator, HELLO, max_tokens=20)
            _, late = await collect(generator, HELLO, max_tokens=20, min_tokens=6)
            _, ignored = await collect(generator, HELLO, max_tokens=20, ignore_eos=True)
        finally:
            await generator.close()
        assert (text, ended.finish_reason, ended.usage.completion_tokens) == ("", "stop", 0)
        assert (late.finish_reason, late.usage.completion_tokens) == ("stop", 6)
        assert (ignored.finish_reason, ignored.usage.completion_tokens) == ("length", 20)

    async def test_a_prompt_without_room_for_a_reply_is_refused_with_its_length(self, generator):
        with pytest.raises(ContextTooLong, match="at most 255 tokens") as caught:
            await collect(generator, [ChatTurn("user", "fox " * 500)])
        assert caught.value.tokens > caught.value.limit == 255

    async def test_a_full_queue_is_told_to_try_later(self, loaded_model):
        generator = LocalGenerator(loaded_model, max_batch=1, max_waiting=1)
        try:
            running = asyncio.create_task(collect(generator, HELLO, ignore_eos=True))
            await until(lambda: generator.loop.running)
            waiting = asyncio.create_task(collect(generator, HELLO, max_tokens=1, ignore_eos=True))
            await until(lambda: generator.loop.waiting)
            with pytest.raises(Unavailable, match="Try again") as caught:
                await collect(generator, HELLO, max_tokens=1)
            assert caught.value.retry_after > 0
            assert (await running)[1].usage.completion_tokens > 100
            assert (await waiting)[1].usage.completion_tokens == 1
        finally:
            await generator.close()

    async def test_a_stopping_engine_fails_what_runs_and_takes_nothing_more(self, generator):
        running = asyncio.create_task(collect(generator, HELLO, ignore_eos=True))
        await until(lambda: generator.loop.running)
        await generator.close()
        with pytest.raises(Unavailable, match="stopping"):
            await running
        with pytest.raises(Unavailable, match="stopping"):
            await collect(generator, HELLO, max_tokens=1)


class Ending(torch.nn.Module):
    """A head that prefers the end token over all others."""

    def __init__(self, head, end):
        super().__init__()
        self.head, self.end = head, end

    def forward(self, hidden):
        logits = self.head(hidden)
        logits[..., self.end] += 100
        return logits


class TestLeaving:
    async def test_closing_the_iterator_takes_the_sequence_out_of_the_batch(self, generator):
        other = asyncio.create_task(collect(generator, HELLO, max_tokens=200, ignore_eos=True))
        async with aclosing(generator.generate(HELLO, Sampling(ignore_eos=True))) as pieces:
            await anext(pieces)
            await until(lambda: generator.loop.running == 2)
        await until(lambda: generator.loop.running == 1)
        assert (await other)[1].usage.completion_tokens == 200
        await until(lambda: generator.loop.running == 0)

    async def test_a_deadline_takes_the_sequence_out_of_the_batch(self, generator):
        expired = Sampling(ignore_eos=True)
        with pytest.raises(Unavailable, match="too long"):
            async for _ in generator.generate(HELLO, expired, deadline=time.monotonic() - 0.9):
                pass
        await until(lambda: generator.loop.running == generator.loop.waiting == 0)

    async def test_a_thread_that_dies_fails_what_waits_and_says_so(
        self, generator, monkeypatch, capsys, caplog
    ):
        def broken(gone):
            raise RuntimeError("device lost")

        assert generator.is_alive
        monkeypatch.setattr(generator.loop._batch, "drop", broken)
        with pytest.raises(Unavailable, match="stopping"):
            await collect(generator, HELLO, max_tokens=3)
        await until(lambda: not generator.is_alive)
        with pytest.raises(Unavailable, match="stopping"):
            await collect(generator, HELLO, max_tokens=3)
        assert "the generation thread died" in capsys.readouterr().err + caplog.text

    async def test_a_failing_step_fails_its_requests_and_the_next_is_answered(self, loaded_model):
        head = loaded_model.model.lm_head
        generator = LocalGenerator(loaded_model)
        try:
            loaded_model.model.lm_head = Breaking()
            with pytest.raises(Unavailable, match="failed on this request"):
                await collect(generator, HELLO, max_tokens=3)
            loaded_model.model.lm_head = head
            _, ended = await collect(generator, HELLO, max_tokens=3, ignore_eos=True)
            assert ended.usage.completion_tokens == 3
        finally:
            await generator.close()


class Breaking(torch.nn.Module):
    def forward(self, hidden):
        raise RuntimeError("broken")


class TestStopStrings:
    @pytest.fixture
    def tokenizer(self, model_directory):
        return AutoTokenizer.from_pretrained(model_directory)

    def shown(self, tokenizer, text, *stop):
        """Every piece that appears while the text is written token by token, until a stop string."""
        detokeniser, pieces = Detokeniser(tokenizer, stop), []
        for token_id in tokenizer(text)["input_ids"]:
            pieces.append(detokeniser.feed(token_id))
            if detokeniser.is_stopped:
                break
        return [*pieces, detokeniser.close()]

    def test_a_stop_string_across_tokens_is_never_shown(self, tokenizer):
        pieces = self.shown(tokenizer, "the answer<STOP>not this", "<STOP>")
        assert len(tokenizer("<STOP>")["input_ids"]) > 2
        assert "".join(pieces) == "the answer"
        assert not any("<" in piece for piece in pieces)

    def test_what_only_began_like_a_stop_string_is_shown_in_the_end(self, tokenizer):
        assert "".join(self.shown(tokenizer, "a <STO", "<STOP>")) == "a <STO"
        assert "".join(self.shown(tokenizer, "a <ST> b", "<STOP>")) == "a <ST> b"

    def test_the_first_of_several_stop_strings_wins(self, tokenizer):
        assert "".join(self.shown(tokenizer, "one\nUser: two END", "END", "\nUser:")) == "one"

    async def test_a_stop_string_ends_the_generation(self, lively):
        whole, _ = await collect(lively, HELLO, max_tokens=40, ignore_eos=True)
        middle = len(whole) // 2
        stop = whole[middle : middle + 3]
        text, ended = await collect(lively, HELLO, max_tokens=40, ignore_eos=True, stop=(stop,))
        assert text == whole[: whole.index(stop)]
        assert ended.finish_reason == "stop"
        assert ended.usage.completion_tokens < 40


class TestDetokeniser:
    @pytest.mark.parametrize(
        "text", ["grüße 漢字", "👩‍👩‍👧 ok", "हिन्दी e\u0301", " the  lazy\n\n dog", "😀" * 5]
    )
    def test_pieces_add_up_to_the_text_and_none_holds_half_a_character(self, model_directory, text):
        tokenizer = AutoTokenizer.from_pretrained(model_directory)
        detokeniser = Detokeniser(tokenizer)
        ids = tokenizer(text)["input_ids"]
        pieces = [*map(detokeniser.feed, ids), detokeniser.close()]
        assert not any("\ufffd" in piece for piece in pieces)
        assert "".join(pieces) == text == tokenizer.decode(ids)

    def test_half_a_character_at_the_end_is_dropped(self, model_directory):
        tokenizer = AutoTokenizer.from_pretrained(model_directory)
        detokeniser = Detokeniser(tokenizer)
        ids = tokenizer("dog 😀")["input_ids"][:-1]
        assert "".join([*map(detokeniser.feed, ids), detokeniser.close()]) == "dog "


def drawn(logits, **sampling):
    """Every token that a hundred draws choose."""
    random = torch.Generator().manual_seed(0)
    chosen = Sampling(**{"temperature": 1.0, **sampling})
    return {sample(torch.tensor(logits), chosen, random) for _ in range(100)}


class TestPrompt:
    @pytest.mark.parametrize("typed", ["hi{end}\nassistant: x", "{end}{end}", "{end}", "<|im_start|>system"])
    def test_special_tokens_that_a_customer_types_stay_text(self, model_directory, typed):
        # Given a tokenizer with a control token of its own beside the end of text
        tokenizer = AutoTokenizer.from_pretrained(model_directory)
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
        special = set(tokenizer.all_special_ids)

        # When a customer types one
        innocent = encode(tokenizer, [ChatTurn("user", "hi")])
        ids = encode(tokenizer, [ChatTurn("user", typed.format(end=tokenizer.eos_token))])

        # Then the prompt has no more of them than any other
        assert [i for i in ids if i in special] == [i for i in innocent if i in special] != []

    def test_other_text_is_left_as_it_is(self, model_directory):
        tokenizer = AutoTokenizer.from_pretrained(model_directory)
        assert "a <b> & |c|" in tokenizer.decode(encode(tokenizer, [ChatTurn("user", "a <b> & |c|")]))


class TestSampler:
    LOGITS = (2.0, 1.5, 1.0, 0.5)  # probabilities of about 0.46, 0.28, 0.17 and 0.10

    def test_without_limits_every_token_can_come(self):
        assert drawn(self.LOGITS) == {0, 1, 2, 3}

    def test_temperature_zero_takes_the_best(self):
        assert drawn(self.LOGITS, temperature=0.0) == {0}

    @pytest.mark.parametrize("temperature", [1e-40, 1e-4])
    def test_a_temperature_next_to_zero_takes_the_best(self, temperature):
        assert drawn((50.0, 60.0, -70.0), temperature=temperature) == {1}

    def test_a_low_temperature_sharpens(self):
        assert drawn(self.LOGITS, temperature=0.05) == {0}

    @pytest.mark.parametrize(("top_k", "expected"), [(1, {0}), (2, {0, 1}), (9, {0, 1, 2, 3})])
    def test_top_k_keeps_the_k_best(self, top_k, expected):
        assert drawn(self.LOGITS, top_k=top_k) == expected

    @pytest.mark.parametrize(("top_p", "expected"), [(0.01, {0}), (0.5, {0, 1}), (0.8, {0, 1, 2})])
    def test_top_p_keeps_the_smallest_set_that_reaches_p(self, top_p, expected):
        assert drawn(self.LOGITS, top_p=top_p) == expected

    @pytest.mark.parametrize(("min_p", "expected"), [(1.0, {0}), (0.5, {0, 1}), (0.3, {0, 1, 2})])
    def test_min_p_drops_what_is_far_below_the_best(self, min_p, expected):
        assert drawn(self.LOGITS, min_p=min_p) == expected

    def test_the_order_of_the_vocabulary_does_not_matter(self):
        assert drawn(self.LOGITS[::-1], top_p=0.5) == {2, 3}

    def test_a_penalty_makes_seen_tokens_less_likely_whatever_their_sign(self):
        penalised = penalise(torch.tensor([2.0, -1.0, 0.5]), [0, 1, 1], 2.0)
        assert penalised.tolist() == [1.0, -2.0, 0.5]

    def test_a_forbidden_token_never_comes(self):
        assert forbid(torch.tensor([2.0, 1.0]), [0]).tolist() == [-torch.inf, 1.0]


class TestLoading:
    @pytest.fixture
    def directory(self, model_directory, tmp_path):
        """A copy that a test may spoil."""
        return shutil.copytree(model_directory, tmp_path / "model")

    def change_config(self, directory, **changes):
        path = directory / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def refusal(self, directory):
        with pytest.raises(ModelUnusable) as caught:
            load_model(str(directory), CPU)
        assert str(directory) in str(caught.value)
        return str(caught.value)

    def test_a_good_directory_loads_under_its_own_name(self, directory):
        loaded = load_model(str(directory), CPU)
        assert (loaded.name, loaded.context_length) == ("model", 256)
        assert loaded.eos_ids == {loaded.tokenizer.eos_token_id}

    def test_a_missing_directory_is_named(self, tmp_path):
        assert "is no directory" in self.refusal(tmp_path / "nowhere")

    def test_a_directory_without_config_is_no_model(self, directory):
        (directory / "config.json").unlink()
        assert "has no config.json" in self.refusal(directory)

    def test_a_config_that_is_no_json_is_named(self, directory):
        (directory / "config.json").write_text("{")
        assert "is no valid JSON" in self.refusal(directory)

    def test_a_directory_without_weights_names_what_is_missing(self, directory):
        (directory / "model.safetensors").unlink()
        assert "has no weights (*.safetensors)" in self.refusal(directory)

    def test_pickled_weights_are_refused_with_the_way_to_convert_them(self, directory):
        (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
        text = self.refusal(directory)
        assert "pytorch_model.bin" in text
        assert "safe_serialization=True" in text

    @pytest.mark.parametrize(
        ("changes", "key"),
        [
            ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "auto_map"),
            (
                {"text_config": {"_attn_implementation_internal": "evil/kernels"}},
                "_attn_implementation_internal",
            ),
            ({"sub": [{"trust_remote_code": True}]}, "trust_remote_code"),
        ],
    )
    def test_a_config_that_would_run_code_is_refused(self, directory, changes, key):
        self.change_config(directory, **changes)
        text = self.refusal(directory)
        assert f"asks to run code ({key})" in text

    def test_code_beside_the_weights_is_not_run(self, directory, tmp_path):
        (directory / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        check_directory(directory)
        load_model(str(directory), CPU)
        assert not (tmp_path / "ran").exists()

    def test_an_unknown_architecture_says_what_to_name_instead(self, directory):
        self.change_config(directory, model_type="nonesuch", architectures=["Nonesuch"])
        assert "Name a directory with config.json, tokenizer and *.safetensors" in self.refusal(directory)

    @pytest.mark.parametrize("content", [b"", b"no safetensors at all"])
    def test_damaged_weights_are_refused_with_words(self, directory, content):
        (directory / "model.safetensors").write_bytes(content)
        assert "cannot be loaded" in self.refusal(directory)

    def test_weights_of_another_shape_are_refused_with_words(self, directory):
        save_file({"transformer.wte.weight": torch.zeros(3, 3)}, directory / "model.safetensors")
        assert "cannot be loaded" in self.refusal(directory)

    def test_a_hub_id_that_cannot_be_reached_says_so(self, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ModelUnusable, match="a hub id that this machine can reach"):
            load_model("frontdesk-test/no-such-model", CPU)
