"""The engine but its thread, on tiny models: each gets what transformers writes, whatever else runs."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Overloaded, Unavailable
from engine.generation.batcher import DeviceBroken
from engine.types import Sampling

GREEDY = Sampling()
DICE = random.Random(7)
BLOCK = 32


def tokens(count):
    return [DICE.randrange(3, 270) for _ in range(count)]


# A prefix of whole blocks, one that ends within a block, and texts around a block's border.
_START = tokens(2 * BLOCK)
_LONG = tokens(150)
PROMPTS = [
    [5],
    tokens(BLOCK),
    tokens(BLOCK + 1),
    _START + tokens(1),
    _START + tokens(30),
    _LONG + tokens(7),
    _LONG + tokens(55),
]


class Watch:
    """Notes what a batcher computes."""

    def __init__(self, batcher):
        self.plans = []
        self.computed = {}
        advance = batcher.scheduler.advance

        def noting(plan):
            self.plans.append(plan)
            for chunk in plan.chunks:
                self.computed[chunk.sequence] = self.computed.get(chunk.sequence, 0) + chunk.count
            advance(plan)

        batcher.scheduler.advance = noting

    @property
    def widest(self):
        """Most sequences in a step."""
        return max(len(plan.chunks) for plan in self.plans)


def run(batcher, most=5000):
    for _ in range(most):
        if not batcher.has_work:
            return
        batcher.step()
    raise AssertionError("it does not come to an end")


def check(tiny, sequence, reader, most):
    """The reader got what transformers writes, as far as that is certain."""
    expected = tiny.continuation(sequence.prompt_ids)[:most]
    assert reader.finish_reason == "length"
    assert len(reader.ids) == most
    assert reader.ids[: len(expected)] == expected


def assert_nothing_is_left(batcher):
    assert batcher.pool.num_used == 0
    assert not batcher.has_work
    assert batcher._writers == {}
    assert batcher.scheduler.running == []
    assert len(batcher.scheduler._queue) == batcher.scheduler._queue.num_conversations == 0


class TestGreedy:
    def test_the_reference_is_worth_comparing_with(self, tiny):
        written = [tiny.continuation(prompt) for prompt in PROMPTS]
        assert sum(map(len, written)) > 0.8 * 40 * len(PROMPTS), "most of it is certain"
        assert len({token for ids in written for token in ids}) > 50, "no model repeats itself"

    @pytest.mark.parametrize("reuse", [True, False])
    def test_each_prompt_alone_gets_what_transformers_generates(self, tiny, reuse):
        batcher = tiny.batcher(reuse=reuse)
        for prompt in PROMPTS:
            sequence, reader = tiny.ask(batcher, prompt)
            run(batcher)
            check(tiny, sequence, reader, 40)
        assert (batcher.pool.num_hit_tokens > 0) == reuse
        assert_nothing_is_left(batcher)

    def test_chunked_prefill_beside_decodes(self, tiny):
        batcher = tiny.batcher(token_budget=9)
        watch = Watch(batcher)
        asked = [tiny.ask(batcher, prompt) for prompt in PROMPTS]
        run(batcher)
        for sequence, reader in asked:
            check(tiny, sequence, reader, 40)
        mixed = [plan for plan in watch.plans if len({chunk.count > 1 for chunk in plan.chunks}) == 2]
        assert len(mixed) > 30
        assert max(sum(chunk.count for chunk in plan.chunks) for plan in watch.plans) == 9

    @pytest.mark.parametrize("reuse", [True, False])
    def test_preemption(self, tiny, reuse):
        # Given texts that grow by two blocks each, in a cache that has room for one more a text
        batcher = tiny.batcher(num_blocks=16 if not reuse else 12, reuse=reuse, token_budget=100)
        asked = [tiny.ask(batcher, prompt) for prompt in [PROMPTS[4]] * 4 + PROMPTS[1:4]]
        run(batcher)
        assert batcher.scheduler.num_preemptions > 0
        for sequence, reader in asked:
            check(tiny, sequence, reader, 40)
        assert_nothing_is_left(batcher)

    def test_a_conversations_next_turn_computes_only_what_is_new(self, tiny):
        batcher = tiny.batcher()
        watch = Watch(batcher)
        turn = PROMPTS[4]
        for _ in range(2):
            sequence, reader = tiny.ask(batcher, turn, conversation="c", tenant="c")
            run(batcher)
            check(tiny, sequence, reader, 40)
            turn = [*sequence.token_ids, *PROMPTS[3][-12:]]
        second = list(watch.computed)[1]
        assert second.num_reused == (94 + 39) // BLOCK * BLOCK == 128
        assert watch.computed[second] == second.num_prompt - 128 + 39

    @settings(max_examples=30, deadline=None)
    @given(data=st.data())
    def test_whatever_the_schedule(self, tiny, data):
        draw = data.draw
        batcher = tiny.batcher(
            num_blocks=draw(st.sampled_from([9, 16, 60]), "blocks"),
            reuse=draw(st.booleans(), "reuse"),
            token_budget=draw(st.sampled_from([5, 33, 64, 512]), "budget"),
            max_running=draw(st.integers(1, 8), "max_running"),
        )
        arrivals = draw(
            st.lists(
                st.tuples(
                    st.integers(0, 12),  # steps since the one before
                    st.integers(0, len(PROMPTS) - 1),
                    st.integers(1, 40),  # tokens to generate
                    st.sampled_from(["", "a", "b"]),
                    st.one_of(st.none(), st.none(), st.integers(0, 30)),  # steps until it is cancelled
                ),
                min_size=2,
                max_size=9,
            ),
            "arrivals",
        )
        asked, steps = [], 0
        leaving = {}

        def step():
            nonlocal steps
            batcher.step()
            steps += 1
            for sequence in leaving.pop(steps, ()):
                sequence.cancel()

        for pause, number, most, tenant, patience in arrivals:
            for _ in range(pause):
                step()
            sequence, reader = tiny.ask(batcher, PROMPTS[number], most, tenant=tenant, conversation=tenant)
            asked.append((sequence, reader, most))
            if patience is not None:
                leaving.setdefault(steps + 1 + patience, []).append(sequence)
        while batcher.has_work:
            step()
            assert steps < 4000

        for sequence, reader, most in asked:
            if reader.error is None:
                check(tiny, sequence, reader, most)
            else:
                assert sequence.is_cancelled
                known = tiny.continuation(sequence.prompt_ids)
                both = min(len(known), len(reader.ids))
                assert reader.ids[:both] == known[:both]
        assert_nothing_is_left(batcher)


class TestTenants:
    def blocks_while(self, batcher, sequences):
        """Blocks that each sequence ever holds."""
        held = {sequence: set() for sequence in sequences}
        while batcher.has_work:
            batcher.step()
            for sequence in sequences:
                held[sequence] |= set(sequence.blocks)
        return held

    @pytest.mark.parametrize("name", ["gpt2", "qwen3"])
    def test_two_tenants_share_nothing_and_get_what_they_get_without_a_cache(self, tiny_models, name):
        tiny = tiny_models(name)
        prompts = (PROMPTS[5], PROMPTS[6])
        plain = tiny.answers(tiny.batcher(reuse=False), *prompts)

        # When two tenants ask with the same prefix, at once and one after the other
        batcher = tiny.batcher()
        watch = Watch(batcher)
        first = [tiny.ask(batcher, prompt, tenant="a") for prompt in prompts[:1]]
        first += [tiny.ask(batcher, prompt, tenant="b") for prompt in prompts[1:]]
        held = self.blocks_while(batcher, [sequence for sequence, _ in first])
        later = [tiny.ask(batcher, prompts[0], tenant="c")]
        held |= self.blocks_while(batcher, [sequence for sequence, _ in later])

        # Then no block is shared, everything is computed, and no byte differs
        a, b = (held[sequence] for sequence, _ in first)
        assert a and b and not a & b
        assert [reader.ids for _, reader in first] == plain
        assert later[0][1].ids == plain[0]
        assert batcher.pool.num_hit_tokens == 0
        for sequence, computed in watch.computed.items():
            assert computed == sequence.num_prompt + 39

    def test_one_tenant_shares_blocks_and_computes_only_the_rest(self, tiny_models):
        tiny = tiny_models("qwen3")
        plain = tiny.answers(tiny.batcher(reuse=False), PROMPTS[5], PROMPTS[6])
        batcher = tiny.batcher()
        watch = Watch(batcher)
        first, first_reader = tiny.ask(batcher, PROMPTS[5], tenant="a")
        batcher.step()
        second, second_reader = tiny.ask(batcher, PROMPTS[6], tenant="a")
        held = self.blocks_while(batcher, [first, second])
        assert len(held[first] & held[second]) == len(_LONG) // BLOCK == 4
        assert watch.computed[first] == first.num_prompt + 39
        assert watch.computed[second] == second.num_prompt - 4 * BLOCK + 39
        assert [first_reader.ids, second_reader.ids] == plain


FREE = {"temperature": 1.0, "top_p": 0.9}


class TestSeeds:
    @pytest.mark.parametrize("name", ["gpt2", "llama", "gemma"])
    def test_the_same_seed_gives_the_same_text_alone_in_a_batch_and_after_preemption(self, tiny_models, name):
        tiny = tiny_models(name)
        seven, eight = (Sampling(seed=seed, **FREE) for seed in (7, 8))

        def alone(sampling):
            return tiny.answers(tiny.batcher(), PROMPTS[4], sampling=sampling)[0]

        expected = alone(seven)
        assert alone(seven) == expected
        assert alone(eight) != expected
        assert alone(GREEDY) != expected

        # In a batch, with others that are drawn too
        batcher = tiny.batcher()
        others = [tiny.ask(batcher, prompt, sampling=Sampling(**FREE)) for prompt in PROMPTS[:3]]
        _, reader = tiny.ask(batcher, PROMPTS[4], sampling=seven)
        _, greedy = tiny.ask(batcher, PROMPTS[4])
        run(batcher)
        assert all(len(other.ids) == 40 for _, other in others)
        assert reader.ids == expected
        assert greedy.ids == alone(GREEDY)

        # And after preemption
        batcher = tiny.batcher(num_blocks=16, reuse=False)
        crowd = [tiny.ask(batcher, PROMPTS[4], sampling=seven) for _ in range(4)]
        run(batcher)
        assert sum(sequence.num_preemptions for sequence, _ in crowd) > 0
        assert [reader.ids for _, reader in crowd] == [expected] * 4


class TestLeaving:
    def test_a_thousand_random_cancellations_leave_nothing_behind(self, tiny_models):
        tiny = tiny_models("llama")
        dice = random.Random(3)
        batcher = tiny.batcher(num_blocks=40, token_budget=128, max_waiting=60)
        alive, cancelled, refused, finished = [], 0, 0, 0
        while cancelled < 1000:
            for _ in range(dice.randrange(12)):
                try:
                    prompt = dice.choice(PROMPTS)[: dice.randrange(1, 90)]
                    sampling = Sampling(repetition_penalty=1.2) if dice.random() < 0.3 else GREEDY
                    conversation = dice.choice(["", "a", "b"])
                    more = {"tenant": conversation, "conversation": conversation}
                    alive.append(tiny.ask(batcher, prompt, dice.randrange(1, 60), sampling, **more))
                except Overloaded:
                    refused += 1
            for _ in range(min(dice.randrange(10), len(alive))):
                sequence, reader = alive.pop(dice.randrange(len(alive)))
                finished += reader.is_done
                cancelled += not reader.is_done
                sequence.cancel()
            batcher.step()
        for sequence, _ in alive:
            sequence.cancel()
        batcher.step()
        assert refused and finished, "some were never taken, some came to their end"
        assert_nothing_is_left(batcher)

        # And the cache is as good as new
        sequence, reader = tiny.ask(batcher, PROMPTS[5])
        run(batcher)
        check(tiny, sequence, reader, 40)
        for _ in range(70):
            tiny.answers(batcher, [5, 6], most=1, sampling=Sampling(repetition_penalty=1.2))
        assert len(batcher._sampler._histories) <= 65

    def test_who_is_cancelled_hears_of_it_once(self, tiny_models):
        tiny = tiny_models("llama")
        batcher = tiny.batcher()
        sequence, reader = tiny.ask(batcher, PROMPTS[1])
        batcher.step()
        sequence.cancel()
        sequence.cancel()
        batcher.step()
        batcher.step()
        assert isinstance(reader.error, Unavailable)
        assert len(reader.ids) == 1

    def test_a_deadline_ends_it_waiting_or_running(self, tiny_models):
        tiny = tiny_models("llama")
        batcher = tiny.batcher(max_running=1)
        running, reader = tiny.ask(batcher, PROMPTS[1])
        waiting, other = tiny.ask(batcher, PROMPTS[1])
        batcher.step()
        running.deadline = waiting.deadline = 0.0
        batcher.step()
        assert "too long" in str(reader.error)
        assert "too long" in str(other.error)
        assert_nothing_is_left(batcher)

    def test_whoever_breaks_off_fails_everyone(self, tiny_models):
        tiny = tiny_models("llama")
        batcher = tiny.batcher(max_running=2)
        asked = [tiny.ask(batcher, PROMPTS[1]) for _ in range(4)]
        batcher.step()
        tiny.ask(batcher, PROMPTS[2])
        batcher.fail_all(Unavailable("The engine is stopping."))
        assert all("stopping" in str(reader.error) for _, reader in asked)
        assert_nothing_is_left(batcher)


class Faulty:
    """A runner that raises errors in the steps that are named."""

    def __init__(self, runner, errors):
        self._runner, self._errors, self.steps = runner, errors, 0
        self.cache, self.can_slide = runner.cache, runner.can_slide

    def run(self, plan):
        self.steps += 1
        if error := self._errors.get(self.steps):
            raise error
        return self._runner.run(plan)


def half_way(runner):
    """A runner that computes its second step, and then is out of memory."""

    class HalfWay(Faulty):
        def run(self, plan):
            done = self._runner.run(plan)
            self.steps += 1
            if self.steps == 2:
                raise torch.OutOfMemoryError("out of memory")
            return done

    return HalfWay(runner, {})


class PoisonedOnce:
    """A runner whose first sampled logits are no numbers."""

    def __init__(self, runner):
        self._runner, self._is_over = runner, False
        self.cache, self.can_slide = runner.cache, runner.can_slide

    def run(self, plan):
        sequences, logits = self._runner.run(plan)
        if sequences and not self._is_over:
            self._is_over, logits = True, logits * torch.nan
        return sequences, logits


class TestFaults:
    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory"),
            MemoryError(),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        ],
    )
    @pytest.mark.parametrize("at", [1, 2])
    def test_out_of_memory_fails_the_largest_request_alone(self, tiny_models, capsys, caplog, error, at):
        tiny = tiny_models("llama")
        batcher = tiny.batcher(Faulty(tiny.runner, {at: error}), token_budget=300)
        small = [tiny.ask(batcher, prompt) for prompt in PROMPTS[:3]]
        if at == 2:
            batcher.step()
        _, large = tiny.ask(batcher, PROMPTS[5])
        run(batcher)
        assert isinstance(large.error, Unavailable)
        assert "memory" in str(large.error)
        for sequence, reader in small:
            check(tiny, sequence, reader, 40)
        assert "out of memory" in capsys.readouterr().err + caplog.text
        assert_nothing_is_left(batcher)

    @pytest.mark.parametrize("name", ["gpt2", "qwen3"])
    def test_a_step_that_broke_after_it_was_computed_is_computed_again(self, tiny_models, name):
        tiny = tiny_models(name)
        batcher = tiny.batcher(half_way(tiny.runner), token_budget=100)
        asked = [tiny.ask(batcher, prompt) for prompt in [*PROMPTS[1:4], PROMPTS[6]]]
        run(batcher)
        assert len([reader for _, reader in asked if reader.error]) == 1
        for sequence, reader in asked:
            if reader.error is None:
                check(tiny, sequence, reader, 40)

    def test_any_other_error_fails_what_runs_and_what_waits_goes_on(self, tiny_models, capsys, caplog):
        tiny = tiny_models("llama")
        batcher = tiny.batcher(Faulty(tiny.runner, {3: RuntimeError("broken")}), max_running=2)
        asked = [tiny.ask(batcher, prompt) for prompt in PROMPTS[1:5]]
        run(batcher)
        for _, reader in asked[:2]:
            assert "failed on this request" in str(reader.error)
        for sequence, reader in asked[2:]:
            check(tiny, sequence, reader, 40)
        assert "a step failed" in capsys.readouterr().err + caplog.text
        assert_nothing_is_left(batcher)

    def test_after_an_unknown_error_no_prefix_is_found_again(self, tiny_models):
        tiny = tiny_models("llama")
        batcher = tiny.batcher(Faulty(tiny.runner, {30: RuntimeError("broken")}))
        tiny.ask(batcher, PROMPTS[5])
        run(batcher)
        sequence, reader = tiny.ask(batcher, PROMPTS[5])
        run(batcher)
        assert sequence.num_reused == 0
        check(tiny, sequence, reader, 40)

    def test_what_is_no_number_is_never_found_as_a_prefix(self, tiny_models):
        tiny = tiny_models("llama")
        poisoned = PoisonedOnce(tiny.runner)
        batcher = tiny.batcher(poisoned)
        _, broken = tiny.ask(batcher, PROMPTS[5])
        run(batcher)
        assert broken.error is not None
        sequence, reader = tiny.ask(batcher, PROMPTS[5])
        run(batcher)
        assert sequence.num_reused == 0
        check(tiny, sequence, reader, 40)

    def test_a_reader_that_cannot_write_fails_alone(self, tiny_models):
        tiny = tiny_models("llama")
        batcher = tiny.batcher()
        sequence, reader = tiny.ask(batcher, PROMPTS[1])
        _, clumsy = tiny.ask(batcher, PROMPTS[2])
        clumsy.write = None
        run(batcher)
        assert "could not be written" in str(clumsy.error)
        check(tiny, sequence, reader, 40)
        assert_nothing_is_left(batcher)

    def test_a_broken_device_is_passed_on(self, tiny_models):
        tiny = tiny_models("llama")
        error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCompile with")
        batcher = tiny.batcher(Faulty(tiny.runner, {2: error}))
        tiny.ask(batcher, PROMPTS[1])
        batcher.step()
        with pytest.raises(DeviceBroken, match=r"illegal memory access was encountered$"):
            batcher.step()

    @pytest.mark.parametrize("name", ["llama", "gemma"])
    def test_what_is_no_number_is_told_to_its_request_alone(self, tiny_models, name, capsys, caplog):
        # Given a model that makes nothing of one token, which no other text has in it
        tiny = tiny_models(name)
        usual = {token for prompt in PROMPTS for token in [*prompt, *tiny.continuation(prompt)]}
        poison = next(token for token in range(tiny.vocabulary) if token not in usual)
        sick = tiny_models(name, vocab_size=tiny.vocabulary)
        with torch.no_grad():
            sick.model.get_input_embeddings().weight[poison] = torch.nan

        # When it is asked for beside others, in a cache so small that blocks are used again
        batcher = sick.batcher(num_blocks=16, reuse=False)
        others = [tiny.ask(batcher, prompt) for prompt in PROMPTS[:3]]
        bad = [tiny.ask(batcher, PROMPTS[1] + [poison]), tiny.ask(batcher, [poison])]
        later = [tiny.ask(batcher, prompt) for prompt in PROMPTS[3:]]
        run(batcher)

        # Then it alone gets an error
        for _, reader in bad:
            assert "failed on this request" in str(reader.error)
            assert reader.ids == []
        for sequence, reader in others + later:
            check(tiny, sequence, reader, 40)
        assert "not a number" in capsys.readouterr().err + caplog.text
        assert_nothing_is_left(batcher)
