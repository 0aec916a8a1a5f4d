"""Our own generation: what one conversation gets does not depend on who else is in the batch."""

import asyncio
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from contextlib import aclosing

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from engine.errors import ContextTooLong, ModelUnusable, Overloaded, Unavailable
from engine.generation import Ended
from engine.generation.local import BatchLimits, LocalGenerator
from engine.generation.loop import EXIT_DEVICE_BROKEN, GenerationLoop
from engine.generation.model import check_directory, load_model
from engine.generation.sequence import Sequence
from engine.prompt import encode
from engine.types import ChatTurn, Sampling

CPU = torch.device("cpu")
HELLO = [ChatTurn("user", "hello there")]


@pytest.fixture(params=["gpt2", "qwen3", "llama"])
async def lively(request, tiny_models, share_runner):
    """A generator over a small random model of each architecture, with large weights."""
    tiny = tiny_models(request.param)
    loaded = tiny.loaded()
    share_runner(loaded, tiny.runner)
    made = LocalGenerator(loaded)
    made.reference = tiny
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
    async def test_greedy_text_is_what_transformers_generates(self, lively):
        text, ended = await collect(lively, HELLO, max_tokens=40, ignore_eos=True)
        prompt = encode(lively.tokenizer, HELLO)
        ids = lively.reference.continuation(prompt)
        assert len(ids) == 40
        assert len(set(ids)) > 5, "a model that repeats itself proves nothing"
        expected = lively.tokenizer.decode(ids, skip_special_tokens=True)
        assert text.rstrip("\ufffd") == expected.rstrip("\ufffd") != ""
        assert (ended.usage.prompt_tokens, ended.usage.completion_tokens) == (len(prompt), 40)

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
        generator = LocalGenerator(loaded_model, BatchLimits(max_running=2))
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

    async def test_the_end_token_stops_unless_it_is_too_early_or_ignored(self, model_directory):
        # Given a model that wants to end at once
        loaded = load_model(str(model_directory), CPU, "float32")
        loaded.model.lm_head = Ending(loaded.model.lm_head, loaded.tokenizer.eos_token_id)
        generator = LocalGenerator(loaded)
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
        generator = LocalGenerator(loaded_model, BatchLimits(max_running=1, max_waiting=1))
        try:
            running = asyncio.create_task(collect(generator, HELLO, ignore_eos=True))
            await until(lambda: generator.loop.running)
            waiting = asyncio.create_task(collect(generator, HELLO, max_tokens=1, ignore_eos=True))
            await until(lambda: generator.loop.waiting)
            with pytest.raises(Overloaded, match="Try again") as caught:
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
        wanted = torch.zeros(self.head.out_features)
        wanted[self.end] = 100
        return self.head(hidden) + wanted


class TestLeaving:
    async def test_closing_the_iterator_takes_the_sequence_out_of_the_batch(self, generator):
        other = asyncio.create_task(collect(generator, HELLO, max_tokens=200, ignore_eos=True))
        async with aclosing(generator.generate(HELLO, Sampling(ignore_eos=True))) as pieces:
            await anext(pieces)
            await until(lambda: generator.loop.running == 2)
            (gone,) = (it for it in generator.loop.scheduler.running if it.max_tokens != 200)
        await until(lambda: generator.loop.running == 1)
        assert gone.is_cancelled
        assert gone.num_generated < gone.max_tokens
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
        def broken():
            raise RuntimeError("device lost")

        assert generator.is_alive
        monkeypatch.setattr(generator.loop.scheduler, "schedule", broken)
        with pytest.raises(Unavailable, match="stopping"):
            await collect(generator, HELLO, max_tokens=3)
        await until(lambda: not generator.is_alive)
        with pytest.raises(Unavailable, match="stopping"):
            await collect(generator, HELLO, max_tokens=3)
        assert "the generation thread died" in capsys.readouterr().err + caplog.text

    async def test_a_failing_step_fails_its_requests_and_the_next_is_answered(self, generator, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(generator.loop._batcher, "_runner", Failing(generator, RuntimeError("broken")))
            with pytest.raises(Unavailable, match="failed on this request"):
                await collect(generator, HELLO, max_tokens=3)
        _, ended = await collect(generator, HELLO, max_tokens=3, ignore_eos=True)
        assert ended.usage.completion_tokens == 3

    async def test_hundreds_of_disconnects_leave_no_block_and_no_trace(self, loaded_model):
        # Given readers who leave before the first piece, after some, or at the end
        limits = BatchLimits(max_running=8, max_waiting=100, token_budget=64)
        generator, dice, left = LocalGenerator(loaded_model, limits), random.Random(2), 0

        async def read(number):
            nonlocal left
            turns = [ChatTurn("user", "fox " * dice.randrange(1, 40))]
            sampling = Sampling(max_tokens=dice.randrange(1, 40), ignore_eos=True, temperature=1.0)
            most, conversation = dice.randrange(12), dice.choice(["", "a", "b"])
            await asyncio.sleep(dice.random() * 0.5)
            try:
                async with aclosing(generator.generate(turns, sampling, None, conversation)) as pieces:
                    async for piece in pieces:
                        if most == 0:
                            left += not isinstance(piece, Ended)
                            break
                        most -= 1
            except Overloaded:
                pass

        try:
            readers = [asyncio.create_task(read(number)) for number in range(600)]
            # When some are cancelled from outside too, wherever they are
            while not all(reader.done() for reader in readers):
                victim = dice.choice(readers)
                left += victim.cancel()
                await asyncio.sleep(0.005)
            await asyncio.gather(*readers, return_exceptions=True)
            await until(lambda: not generator.loop._batcher.has_work)

            # Then nothing is left of them
            assert left > 150
            scheduler = generator.loop.scheduler
            assert scheduler.num_running == scheduler.num_waiting == 0
            assert scheduler.pool.num_used == 0
            assert scheduler._queue.num_conversations == 0
            assert generator.loop._batcher._writers == {}
            await until(lambda: generator.loop.post._letters == {})
            assert (await collect(generator, HELLO, max_tokens=5, ignore_eos=True))[
                1
            ].usage.completion_tokens == 5
        finally:
            await generator.close()


class Failing:
    """A runner that raises."""

    def __init__(self, generator, error):
        self.cache, self.can_slide = generator.loop._batcher._runner.cache, False
        self._error, self.failed = error, threading.Event()

    def run(self, plan):
        self.failed.set()
        raise self._error


STICKY = "CUDA error: an illegal memory access was encountered"
# A process with nothing but a loop, whose device breaks in its first step.
CHILD = f"""
import threading, time, types
import torch
from engine.generation.loop import start_loop
from engine.generation.sequence import Sequence
from engine.types import Sampling

class Broken:
    cache, can_slide = types.SimpleNamespace(num_blocks=8, block_size=32), False
    def run(self, plan):
        print(time.monotonic(), flush=True)
        raise torch.AcceleratorError({STICKY!r})

class Reader:
    def fail(self, error):
        print(error, flush=True)

loop = start_loop(Broken(), context_length=64, vocab_size=9, device=torch.device("cpu"), max_running=1,
                  max_waiting=1, token_budget=9)
loop.submit(Sequence([1, 2], Sampling(), 5), Reader())
time.sleep(60)
"""


class TestBrokenDevice:
    async def test_every_reader_hears_of_it_nothing_is_taken_and_the_process_ends(
        self, generator, caplog, capsys
    ):
        # Given answers under way, and one that waits
        ended, was = threading.Event(), []
        loop = generator.loop
        loop._end_process = lambda code: (was.append((code, loop.is_alive)), ended.set())
        loop.scheduler._max_running = 2
        reading = [asyncio.create_task(collect(generator, HELLO, ignore_eos=True)) for _ in range(3)]
        await until(lambda: loop.running == 2)

        # When the device breaks
        broken = Failing(generator, torch.AcceleratorError(STICKY))
        started = time.monotonic()
        loop._batcher._runner = broken
        await asyncio.to_thread(broken.failed.wait, 5)

        # Then readers get errors, and nobody is told yes meanwhile
        for result in await asyncio.gather(*reading, return_exceptions=True):
            assert isinstance(result, Unavailable)
            assert "starting again" in str(result)
        assert not generator.is_alive
        with pytest.raises(Unavailable):
            await collect(generator, HELLO, max_tokens=1)
        assert await asyncio.to_thread(ended.wait, 5)
        assert time.monotonic() - started < 2
        assert was == [(EXIT_DEVICE_BROKEN, False)] == [(70, False)]
        assert STICKY in capsys.readouterr().err + caplog.text

    def test_it_is_not_alive_from_the_moment_that_the_first_reader_hears_of_it(self, tiny_models):
        tiny = tiny_models("llama")
        seen, ended = [], threading.Event()

        class Watching:
            def fail(self, error):
                seen.append(loop.is_alive)

        class Broken:
            cache, can_slide = tiny.runner.cache, False

            def run(self, plan):
                raise torch.AcceleratorError(STICKY)

        batcher = tiny.batcher(Broken())
        loop = GenerationLoop(batcher, end_process=lambda code: ended.set())
        loop.submit(Sequence([5], Sampling(), 3), Watching())
        assert ended.wait(5)
        assert seen == [False]
        with pytest.raises(Unavailable, match="stopping"):
            loop.submit(Sequence([5], Sampling(), 3), Watching())

    def test_a_real_process_ends_with_its_exit_code_within_two_seconds(self):
        child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60)
        ended = time.monotonic()
        broke, *told = child.stdout.splitlines()
        assert child.returncode == 70, child.stderr
        assert ended - float(broke) < 2
        assert any(line.startswith("The engine is starting again.") for line in told), (
            "its reader heard of it"
        )
        assert "the device is beyond use" in child.stderr + child.stdout


class TestStopStrings:
    async def test_a_stop_string_ends_the_generation(self, lively):
        whole, _ = await collect(lively, HELLO, max_tokens=40, ignore_eos=True)
        middle = len(whole) // 2
        stop = whole[middle : middle + 3]
        text, ended = await collect(lively, HELLO, max_tokens=40, ignore_eos=True, stop=(stop,))
        assert text == whole[: whole.index(stop)]
        assert ended.finish_reason == "stop"
        assert ended.usage.completion_tokens < 40


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
