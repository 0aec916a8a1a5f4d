"""The sampler: each option does what its formula says, and no row knows of another."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch

from engine.generation.sampler import _FORGET_AFTER, Sampler, uniform
from engine.types import Sampling

CPU = torch.device("cpu")
LOGITS = (2.0, 1.5, 1.0, 0.5)  # probabilities of about 0.46, 0.28, 0.17 and 0.10
WIDE = 700  # more than two blocks, and no multiple of one


@dataclass(eq=False)
class Row:
    """What the sampler reads of a sequence."""

    sampling: Sampling = Sampling()
    token_ids: list[int] = field(default_factory=list)
    num_prompt: int = 0
    eos_ids: frozenset[int] = frozenset()

    @property
    def num_generated(self):
        return len(self.token_ids) - self.num_prompt


def row(*, prompt=(), generated=(), eos_ids=(), **sampling):
    return Row(Sampling(**sampling), [*prompt, *generated], len(prompt), frozenset(eos_ids))


def step(logits, *rows):
    """One step of a sampler of its own."""
    logits = torch.as_tensor(logits)
    return Sampler(CPU, logits.shape[1]).sample(logits, rows)


def choices(logits, times=200, **sampling):
    """How often which token comes, over seeds."""
    logits = torch.tensor(logits).expand(times, -1)
    rows = [row(**{"temperature": 1.0, "seed": seed, **sampling}) for seed in range(times)]
    return Counter(step(logits, *rows).token_ids)


def drawn(logits, **sampling):
    return set(choices(logits, **sampling))


def is_like(counts, probabilities):
    """Whether the counts could come from the probabilities: chi-squared, at one in ten thousand."""
    total = sum(counts.values())
    if not set(counts) <= {token for token, share in enumerate(probabilities) if share > 0}:
        return False
    likely = [(token, share) for token, share in enumerate(probabilities) if share * total >= 5]
    distance = sum((counts[token] - share * total) ** 2 / (share * total) for token, share in likely)
    freedom = torch.tensor(float(len(likely) - 1))
    return 1 - torch.special.gammainc(freedom / 2, torch.tensor(distance) / 2) > 1e-4


def truncated(logits, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """The distribution by the plainest reading: sort everything, then cut."""
    probabilities = (torch.as_tensor(logits).double() / temperature).softmax(-1)
    values, order = probabilities.sort(descending=True)
    if top_k:
        values[top_k:] = 0
    values /= values.sum()
    values[(values.cumsum(0) - values) >= top_p] = 0
    values[values < min_p * values[0]] = 0
    return torch.zeros_like(values).scatter(0, order, values / values.sum()).tolist()


class TestGreedy:
    def test_temperature_zero_takes_the_best_of_every_row(self):
        logits = torch.randn(5, WIDE, generator=torch.Generator().manual_seed(0))
        sampled = step(logits, *(row() for _ in range(5)))
        assert sampled.token_ids == logits.argmax(-1).tolist()
        assert sampled.device_ids.tolist() == sampled.token_ids
        assert sampled.device_ids.dtype == torch.long
        assert not any(sampled.is_broken)
        assert sampled.scores == [None] * 5

    @pytest.mark.parametrize("temperature", [1e-40, 1e-4])
    def test_a_temperature_next_to_zero_takes_the_best(self, temperature):
        assert drawn((50.0, 60.0, -70.0), temperature=temperature) == {1}

    def test_half_precision_gives_the_same(self):
        logits = torch.randn(3, WIDE, generator=torch.Generator().manual_seed(0)).bfloat16()
        rows = row(), row(temperature=1.0, seed=1, top_p=0.9), row(repetition_penalty=2.0, prompt=[4])
        assert step(logits, *rows).token_ids == step(logits.float(), *rows).token_ids


class TestTruncation:
    def test_without_limits_every_token_can_come(self):
        assert drawn(LOGITS) == {0, 1, 2, 3}

    def test_a_low_temperature_sharpens(self):
        assert drawn(LOGITS, temperature=0.05) == {0}

    @pytest.mark.parametrize(("top_k", "expected"), [(1, {0}), (2, {0, 1}), (9, {0, 1, 2, 3})])
    def test_top_k_keeps_the_k_best(self, top_k, expected):
        assert drawn(LOGITS, top_k=top_k) == expected

    @pytest.mark.parametrize(
        ("top_p", "expected"), [(0.0, {0}), (0.01, {0}), (0.5, {0, 1}), (0.8, {0, 1, 2})]
    )
    def test_top_p_keeps_the_smallest_set_that_reaches_p(self, top_p, expected):
        assert drawn(LOGITS, top_p=top_p) == expected

    @pytest.mark.parametrize(("min_p", "expected"), [(1.0, {0}), (0.5, {0, 1}), (0.3, {0, 1, 2})])
    def test_min_p_drops_what_is_far_below_the_best(self, min_p, expected):
        assert drawn(LOGITS, min_p=min_p) == expected

    def test_top_p_counts_within_top_k(self):
        # Of all, 0 and 1 weigh 0.74; of the two best, 0 alone weighs 0.62.
        assert drawn(LOGITS, top_p=0.6) == {0, 1}
        assert drawn(LOGITS, top_p=0.6, top_k=2) == {0}

    def test_top_p_counts_before_min_p(self):
        # Of all, 0 weighs 0.46, under 0.5; of what min-p leaves it would weigh 0.62.
        assert drawn(LOGITS, top_p=0.5, min_p=0.5) == {0, 1}

    def test_the_order_of_the_vocabulary_does_not_matter(self):
        assert drawn(LOGITS[::-1], top_p=0.5) == {2, 3}

    def test_the_last_token_of_a_vocabulary_can_come_and_none_behind_it(self):
        assert drawn([-torch.inf] * (WIDE - 1) + [0.0]) == {WIDE - 1}
        assert max(drawn([0.0] * WIDE, times=3000)) == WIDE - 1


class TestDistribution:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"temperature": 0.6},
            {"temperature": 1.7},
            {"top_p": 0.9},
            {"top_p": 0.3},
            {"top_k": 20},
            {"min_p": 0.1},
            {"temperature": 1.3, "top_k": 50, "top_p": 0.8, "min_p": 0.02},
        ],
        ids=str,
    )
    def test_draws_follow_the_formula(self, options):
        logits = (2 * torch.randn(WIDE, generator=torch.Generator().manual_seed(3))).tolist()
        assert is_like(choices(logits, times=6000, **options), truncated(logits, **options))

    @pytest.mark.parametrize("options", [{"temperature": 1.2}, {"top_p": 0.99}, {"top_k": 300}], ids=str)
    def test_the_test_would_see_another_distribution(self, options):
        logits = (2 * torch.randn(WIDE, generator=torch.Generator().manual_seed(3))).tolist()
        assert not is_like(choices(logits, times=6000), truncated(logits, **options))

    def test_a_small_nucleus_is_hit_after_few_draws(self, monkeypatch):
        # Given a hundred rows whose nucleus weighs a hundredth, so that blind draws would need a hundred each
        draws = []
        monkeypatch.setattr(
            "engine.generation.sampler.uniform", lambda *key: draws.append(key) or uniform(*key)
        )
        choices(torch.linspace(0, 0.1, WIDE).tolist(), times=100, top_p=0.01)
        assert len(draws) < 1000

    def test_consecutive_tokens_of_one_seed_are_independent(self):
        rows = [row(temperature=1.0, seed=5, generated=[0] * length) for length in range(4000)]
        ids = step(torch.zeros(4000, 4), *rows).token_ids
        pairs = Counter(first * 4 + second for first, second in pairwise(ids))
        assert is_like(pairs, [1 / 16] * 16)

    def test_numbers_lie_from_zero_to_below_one_even_in_float32(self):
        numbers = torch.tensor([uniform(seed, 0, 0) for seed in range(20_000)])
        assert 0 <= numbers.min() < 0.001
        assert 0.999 < numbers.max() < 1
        assert (numbers.mean(0) - 0.5).abs().max() < 0.01
        assert torch.corrcoef(numbers.T)[0, 1].abs() < 0.03


MIXED = [
    {"temperature": 0.0},
    {"temperature": 1.0, "seed": 1},
    {"temperature": 1.0, "seed": 2, "top_p": 0.5},
    {"temperature": 0.8, "seed": 3, "top_k": 30, "top_p": 0.9},
    {"temperature": 1.5, "seed": 4, "min_p": 0.05},
    {"temperature": 1.0, "seed": -(2**63), "repetition_penalty": 1.5, "prompt": range(50)},
    {"temperature": 1.0, "seed": 2**63 - 1, "frequency_penalty": 1.0, "generated": [7, 7, 9]},
    {"temperature": 1.0, "seed": 7, "top_p": 0.95, "logprobs": 3},
    {"temperature": 0.0, "presence_penalty": 2.0, "generated": [1, 2], "logprobs": 0},
    {"temperature": 1.0, "seed": 9, "min_tokens": 3, "eos_ids": [0, 1, 2]},
]


class TestIndependence:
    @pytest.fixture
    def logits(self):
        return 3 * torch.randn(len(MIXED), WIDE, generator=torch.Generator().manual_seed(5))

    def test_a_row_gets_in_a_mixed_batch_what_it_gets_alone(self, logits):
        alone = [step(logits[place : place + 1], row(**options)) for place, options in enumerate(MIXED)]
        together = step(logits, *(row(**options) for options in MIXED))
        assert together.token_ids == [sampled.token_ids[0] for sampled in alone]
        assert together.scores == [sampled.scores[0] for sampled in alone]
        assert len(set(together.token_ids)) > 5

    def test_the_order_of_the_rows_does_not_matter(self, logits):
        order = torch.randperm(len(MIXED), generator=torch.Generator().manual_seed(1)).tolist()
        there = step(logits, *(row(**options) for options in MIXED)).token_ids
        shuffled = step(logits[order], *(row(**MIXED[place]) for place in order)).token_ids
        assert shuffled == [there[place] for place in order]

    def test_a_long_run_is_the_same_whatever_else_is_in_the_batch(self):
        # Given a distribution that depends on the last token, so that one other token changes the rest
        table = 2 * torch.randn(WIDE, WIDE, generator=torch.Generator().manual_seed(6))

        def run(sampler, watched, others, steps):
            for _ in range(steps):
                batch = [*others, watched]
                sampled = sampler.sample(table[[it.token_ids[-1] for it in batch]], batch)
                for it, token_id in zip(batch, sampled.token_ids, strict=True):
                    it.token_ids.append(token_id)

        options = {"temperature": 1.0, "seed": 11, "top_p": 0.8, "frequency_penalty": 0.5, "prompt": [3]}
        alone = row(**options)
        run(Sampler(CPU, WIDE), alone, [], 40)

        # When it runs in company, then is put aside for long, and goes on in another row
        sampler, watched = Sampler(CPU, WIDE), row(**options)
        company = [row(**MIXED[place] | {"prompt": [place]}) for place in (1, 2, 5)]
        run(sampler, watched, company, 15)
        for _ in range(2 * _FORGET_AFTER):
            sampler.sample(table[:3], company)
        run(sampler, watched, company[:1], 25)

        # Then nothing differs
        assert watched.token_ids == alone.token_ids
        assert len(set(alone.token_ids)) > 20

    def test_a_broken_row_is_told_and_the_others_get_what_they_would(self, logits):
        rows = [row(**options) for options in MIXED]
        whole = step(logits, *rows).token_ids
        for bad, token in ((torch.nan, 3), (torch.inf, 3), (-torch.inf, slice(None))):
            for place in (0, 1, 2, 7):
                broken = logits.clone()
                broken[place, token] = bad
                sampled = step(broken, *rows)
                assert [number for number, it in enumerate(sampled.is_broken) if it] == [place]
                assert sampled.token_ids == [*whole[:place], 0, *whole[place + 1 :]]
                assert sampled.device_ids.tolist() == sampled.token_ids
                assert sampled.scores[place] is None

    def test_the_logits_are_left_as_they_are(self, logits):
        before = logits.clone()
        step(logits, *(row(**options) for options in MIXED))
        assert torch.equal(logits, before)


class TestSeeds:
    LOGITS = torch.zeros(1, WIDE)

    def test_the_same_seed_and_length_give_the_same_token_and_others_another(self):
        chosen = {
            (seed, length): step(
                self.LOGITS, row(temperature=1.0, seed=seed, generated=[0] * length)
            ).token_ids[0]
            for seed in range(8)
            for length in range(8)
        }
        again = {
            (seed, length): step(
                self.LOGITS, row(temperature=1.0, seed=seed, generated=[0] * length)
            ).token_ids[0]
            for seed, length in chosen
        }
        assert chosen == again
        assert len(set(chosen.values())) > 50

    def test_without_a_seed_the_tokens_differ_from_run_to_run(self):
        found = {step(self.LOGITS, row(temperature=1.0)).token_ids[0] for _ in range(20)}
        assert len(found) > 10

    def test_every_bit_of_a_seed_counts(self):
        seeds = [0, *(1 << bit for bit in range(63)), -1, -(2**63), 2**63 - 1]
        assert len({uniform(seed, 0, 0) for seed in seeds}) == len(seeds)

    def test_a_prompts_length_does_not_count(self):
        short, long = row(temperature=1.0, seed=1, prompt=[1]), row(temperature=1.0, seed=1, prompt=[1] * 9)
        assert step(self.LOGITS, short).token_ids == step(self.LOGITS, long).token_ids


class TestPenalties:
    def best(self, logits, **options):
        return step([logits], row(**options)).token_ids[0]

    def test_repetition_makes_seen_tokens_less_likely_whatever_their_sign(self):
        assert self.best([2.0, 1.5], repetition_penalty=2.0, prompt=[0]) == 1
        assert self.best([2.0, 1.5], repetition_penalty=2.0, generated=[0]) == 1
        assert self.best([2.0, 1.5], repetition_penalty=1.3, prompt=[0]) == 0
        assert self.best([-1.0, -1.5], repetition_penalty=2.0, prompt=[0]) == 1
        assert self.best([2.0, 1.5], repetition_penalty=0.5, prompt=[1]) == 1

    def test_repetition_counts_a_token_once(self):
        assert self.best([2.0, 0.9], repetition_penalty=2.0, prompt=[0, 0, 0]) == 0

    def test_presence_and_frequency_count_only_generated_tokens(self):
        for name in ("presence_penalty", "frequency_penalty"):
            assert self.best([2.0, 1.5], **{name: 1.0}, prompt=[0], generated=[1]) == 0
            assert self.best([2.0, 1.5], **{name: 1.0}, prompt=[1], generated=[0]) == 1
            assert self.best([2.0, 1.5], **{name: -1.0}, generated=[1]) == 1

    def test_frequency_counts_each_time_and_presence_once(self):
        assert self.best([2.0, 0.7], frequency_penalty=0.5, generated=[0, 0]) == 0
        assert self.best([2.0, 0.7], frequency_penalty=0.5, generated=[0, 0, 0]) == 1
        assert self.best([2.0, 0.7], presence_penalty=0.5, generated=[0, 0, 0]) == 0

    def test_they_shift_the_distribution_by_the_formula(self):
        generated = [0, 0, 1]
        logits = [1.0, -0.5, 0.2, 0.0]
        expected = [(1.0 / 1.2) - 2 * 0.3 - 0.4, (-0.5 * 1.2) - 0.3 - 0.4, 0.2 / 1.2, 0.0]
        options = {"repetition_penalty": 1.2, "frequency_penalty": 0.3, "presence_penalty": 0.4}
        rows = [
            row(temperature=1.0, seed=seed, prompt=[2], generated=generated, **options)
            for seed in range(6000)
        ]
        counts = Counter(step(torch.tensor(logits).expand(6000, -1), *rows).token_ids)
        assert is_like(counts, truncated(expected))
        assert not is_like(counts, truncated(logits))

    def test_what_a_sequence_grows_by_is_counted_at_once(self):
        sampler, watched = Sampler(CPU, 3), row(frequency_penalty=1.0)
        for _ in range(12):
            watched.token_ids += sampler.sample(torch.tensor([[2.0, 1.5, 1.0]]), [watched]).token_ids
        assert watched.token_ids == [0, 1, 0, 2, 1, 0, 2, 1, 0, 2, 1, 0]

    def test_a_new_sequence_does_not_inherit_from_one_that_is_gone(self):
        sampler = Sampler(CPU, 2)
        for _ in range(50):  # addresses are used again
            first = row(presence_penalty=2.0, generated=[0])
            assert sampler.sample(torch.tensor([[2.0, 1.5]]), [first]).token_ids == [1]
            del first
            second = row(presence_penalty=2.0, generated=[1])
            assert sampler.sample(torch.tensor([[1.5, 2.0]]), [second]).token_ids == [0]
            del second

    def test_sequences_that_are_gone_are_let_go(self):
        sampler = Sampler(CPU, 2)
        for _ in range(5 * _FORGET_AFTER):
            sampler.sample(torch.tensor([[2.0, 1.5]]), [row(repetition_penalty=2.0, prompt=[0])])
        assert len(sampler._histories) <= 2 * _FORGET_AFTER


class TestMinTokens:
    def test_an_end_token_never_comes_too_early(self):
        options = {"min_tokens": 2, "eos_ids": [0, 1]}
        assert [
            step([[3.0, 2.0, 1.0]], row(generated=[2] * length, **options)).token_ids[0]
            for length in range(4)
        ] == [2, 2, 0, 0]
        assert drawn([9.0, 9.0, 0.0], min_tokens=1, eos_ids=(0, 1)) == {2}

    def test_an_end_token_outside_the_vocabulary_is_no_matter(self):
        assert step([[1.0, 2.0]], row(min_tokens=1, eos_ids=[1, 50_000])).token_ids == [0]

    def test_a_row_of_which_nothing_is_left_is_broken(self):
        assert step([[1.0, -torch.inf]], row(min_tokens=1, eos_ids=[0])).is_broken == [True]


class TestLogprobs:
    LOGITS = torch.randn(2, WIDE, generator=torch.Generator().manual_seed(8))

    @pytest.mark.parametrize("most", [0, 1, 20])
    def test_they_are_the_models_own_and_the_best_come_first(self, most):
        options = {"temperature": 0.5, "seed": 1, "repetition_penalty": 3.0, "prompt": range(100)}
        sampled = step(self.LOGITS, row(**options, logprobs=most), row())
        score, expected = sampled.scores[0], self.LOGITS[0].log_softmax(-1)
        assert score.logprob == pytest.approx(expected[sampled.token_ids[0]].item(), abs=1e-5)
        values, ids = expected.topk(most)
        assert [token_id for token_id, _ in score.top] == ids.tolist()
        assert [value for _, value in score.top] == pytest.approx(values.tolist(), abs=1e-5)
        assert sampled.scores[1] is None

    def test_rows_may_ask_for_different_numbers(self):
        scores = step(self.LOGITS, row(logprobs=2), row(logprobs=7)).scores
        assert [len(it.top) for it in scores] == [2, 7]

    def test_a_large_vocabulary_keeps_its_token_ids(self):
        logits = torch.zeros(1, 200_003)
        logits[0, [200_001, 131_073]] = torch.tensor([9.0, 8.0])
        (score,) = step(logits, row(logprobs=2)).scores
        assert [token_id for token_id, _ in score.top] == [200_001, 131_073]

    def test_what_cannot_come_has_a_number_that_json_can_carry(self):
        (score,) = step([[0.0, -torch.inf]], row(logprobs=2)).scores
        assert score.top == ((0, 0.0), (1, -9999.0))
