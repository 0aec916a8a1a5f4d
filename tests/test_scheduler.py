"""The scheduler, with a cache of tuples for a model: whatever happens, each sequence sees its own tokens."""

import random
import time
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ContextTooLong, Overloaded, Unavailable
from engine.generation.blocks import BlockPool
from engine.generation.scheduler import Chunk, FairQueue, Plan, Scheduler, _retry_after
from engine.generation.sequence import Sequence, SequenceStatus
from engine.types import Sampling

END = 0
GREEDY = Sampling()


def sequence(prompt, max_tokens=4, **more):
    """A sequence; the prompt may be given by its length."""
    tokens = [1 + n % 7 for n in range(prompt)] if isinstance(prompt, int) else list(prompt)
    return Sequence(prompt_ids=tokens, sampling=GREEDY, max_tokens=max_tokens, **more)


def next_token(token_ids):
    """What the make-believe model says after these tokens; the end token now and then."""
    return hash(tuple(token_ids[-5:])) % 11


def alone(one):
    """What a sequence generates when nobody else is there."""
    ids = list(one.prompt_ids)
    while len(ids) - one.num_prompt < one.max_tokens:
        token = next_token(ids)
        if token in one.eos_ids:
            break
        ids.append(token)
    return ids[one.num_prompt :]


class Bench:
    """A scheduler and a cache whose slots remember what was written: (tenant, everything seen, position).

    `expected` is what a sequence's cache should hold, worked out from its tokens and shifts alone.
    """

    def __init__(self, num_blocks=64, block_size=4, reuse=True, **more):
        options = {"max_running": 8, "max_waiting": 1000, "token_budget": 16, "context_length": 64} | more
        self.pool = BlockPool(num_blocks, block_size, reuse=reuse)
        self.scheduler = Scheduler(self.pool, **options)
        self.budget, self.max_running = options["token_budget"], options["max_running"]
        self.cache, self.expected, self.residence = {}, {}, {}
        self.steps = 0
        self.shifts = []

    def add(self, *sequences):
        for one in sequences:
            self.scheduler.add(one)

    def step(self):
        """Plan, check the plan, compute it, sample: the plan."""
        plan = self.scheduler.schedule()
        self.check(plan)
        for shift in plan.shifts:
            self.turn(shift)
        for chunk in plan.chunks:
            self.compute(chunk)
        last = [chunk.sequence for chunk in plan.chunks if chunk.is_last]
        self.scheduler.advance(plan)
        for one in last:
            one.append(next_token(one.token_ids))
            if one.finish_reason:
                self.scheduler.finish(one)
        self.steps += 1
        self.shifts += plan.shifts
        return plan

    def until(self, happened, most=300):
        """Step until something has happened: the last plan."""
        for _ in range(most):
            plan = self.step()
            if happened():
                return plan
        raise AssertionError("it does not happen")

    def run(self, most=3000):
        """Step until nothing is left, and nothing is held."""
        for _ in range(most):
            if not (self.scheduler.num_running or self.scheduler.num_waiting):
                break
            before = self.scheduler.num_running + self.scheduler.num_waiting
            plan = self.step()
            # A step without work is only right when it threw somebody out.
            assert not plan.is_empty or self.scheduler.num_running + self.scheduler.num_waiting < before
        else:
            raise AssertionError("the schedule does not come to an end")
        assert self.pool.num_used == 0

    def check(self, plan):
        """Budget, order, and nobody twice."""
        decodes = [chunk for chunk in plan.chunks if chunk.count == 1]
        prefills = plan.chunks[len(decodes) :]
        assert all(chunk.count > 1 for chunk in prefills)
        members = [chunk.sequence for chunk in plan.chunks]
        assert len(set(members)) == len(members) <= self.max_running
        assert set(members) <= set(self.scheduler.running)
        assert {shift.sequence for shift in plan.shifts} <= set(members)
        total = sum(chunk.count for chunk in plan.chunks)
        assert total <= max(self.budget, len(decodes))
        assert self.pool.num_used == len({b for one in self.scheduler.running for b in one.blocks})

    def turn(self, shift):
        one, size = shift.sequence, self.pool.block_size
        for source, target in shift.copies:
            assert one.blocks[0] == target
            assert self.pool.is_private(target)
            for slot in range(size):
                tenant, seen, position = self.cache[source, slot]
                self.cache[target, slot] = (tenant, seen, position + shift.by)
        held = self.expected[one]
        sinks = [(tenant, seen, position + shift.by) for tenant, seen, position in held[:size]]
        self.expected[one] = sinks + held[size + shift.by :]

    def compute(self, chunk):
        one, size = chunk.sequence, self.pool.block_size
        if self.residence.get(one) != one.num_preemptions or one not in self.expected:
            self.residence[one] = one.num_preemptions
            self.expected[one] = [self.slot(one, index) for index in range(one.num_computed)]
        held = self.expected[one]
        assert chunk.start == one.num_computed == len(held) + one.num_dropped
        for index in range(chunk.start, chunk.start + chunk.count):
            at = len(held)
            block = one.blocks[at // size]
            assert self.pool.is_private(block), "nobody writes into a block that another may read"
            held.append(self.slot(one, index))
            self.cache[block, at % size] = held[-1]
        found = [self.cache[one.blocks[at // size], at % size] for at in range(len(held))]
        assert found == held

    @staticmethod
    def slot(one, index):
        return (one.tenant, hash(tuple(one.token_ids[: index + 1])), index)


# Any load, any shape


@st.composite
def benches(draw):
    size = draw(st.sampled_from([1, 2, 4]))
    return Bench(
        num_blocks=draw(st.integers(6, 20)),
        block_size=size,
        reuse=draw(st.booleans()),
        max_running=draw(st.integers(1, 6)),
        token_budget=draw(st.integers(1, 24)),
        context_length=draw(st.integers(4 * size, 40)),
        can_slide=draw(st.booleans()),
    )


SEQUENCES = st.builds(
    sequence,
    st.lists(st.integers(1, 2), min_size=1, max_size=5).map(lambda tokens: tokens * 4),
    max_tokens=st.integers(1, 40),
    eos_ids=st.sampled_from([frozenset(), frozenset({END})]),
    tenant=st.sampled_from(["", "bakery"]),
    conversation=st.sampled_from(["", "x", "y"]),
)


@settings(max_examples=200, deadline=None)
@given(bench=benches(), arrivals=st.lists(st.tuples(st.integers(0, 2), SEQUENCES), min_size=3, max_size=12))
def test_every_sequence_gets_what_it_would_get_alone(bench, arrivals):
    added = []
    for pause, one in arrivals:
        try:
            bench.add(one)
        except ContextTooLong as error:
            assert one.num_prompt > error.limit
            continue
        added.append(one)
        for _ in range(pause):
            bench.step()
    bench.run()
    cut_short = bench.scheduler.take_finished()
    for one in added:
        assert one.status is SequenceStatus.FINISHED
        generated = alone(one)
        if one in cut_short:
            assert one.finish_reason == "length"
            assert one.num_dropped
            generated = generated[: one.num_generated]
        assert one.generated_ids == generated
    assert bench.scheduler._queue.num_conversations == 0


@settings(max_examples=40, deadline=None)
@given(bench=benches(), seed=st.integers(0, 2**32))
def test_random_cancellations_leave_no_block_behind(bench, seed):
    dice = random.Random(seed)
    left = 30
    alive = []
    while left:
        one = sequence(dice.randint(1, 12), max_tokens=dice.randint(1, 20), conversation=dice.choice("xyz"))
        try:
            bench.add(one)
        except ContextTooLong:
            continue
        alive.append(one)
        if dice.random() < 0.6:
            victim = alive.pop(dice.randrange(len(alive)))
            left -= victim.status is not SequenceStatus.FINISHED
            victim.cancel()
        if dice.random() < 0.5:
            bench.step()
    bench.run()
    assert bench.scheduler._queue.num_conversations == 0


def test_a_thousand_cancellations_leave_no_block_behind():
    dice = random.Random(1)
    bench = Bench(num_blocks=24, can_slide=True)
    sequences = [sequence(dice.randint(1, 40), max_tokens=80) for _ in range(1000)]
    bench.add(*sequences)
    while bench.scheduler.num_waiting:
        bench.step()
        dice.choice(bench.scheduler.running or sequences).cancel()
        for one in dice.sample(sequences, 12):
            one.cancel()
    for one in sequences:
        one.cancel()
    assert bench.step().is_empty
    assert bench.pool.num_used == 0
    assert all(one.status is SequenceStatus.FINISHED for one in sequences)


# Steps


def test_prompts_are_computed_in_chunks_beside_decodes():
    bench = Bench(token_budget=8)
    short, long = sequence(3, max_tokens=20), sequence(30)
    bench.add(short)
    bench.step()
    bench.add(long)
    counts = [[chunk.count for chunk in bench.step().chunks] for _ in range(3)]
    assert counts == [[1, 7], [1, 7], [1, 7]]


def test_nobody_begins_while_decodes_fill_the_budget():
    bench = Bench(token_budget=4, max_running=6)
    bench.add(*[sequence(1, max_tokens=9) for _ in range(6)])
    assert [[chunk.count for chunk in bench.step().chunks] for _ in range(9)] == [[1] * 4] * 9
    assert (bench.scheduler.num_running, bench.scheduler.num_waiting) == (0, 2)
    bench.run()


def test_a_long_prompt_holds_up_no_short_one():
    bench = Bench(token_budget=16, context_length=400, num_blocks=200)
    long, short = sequence(300), sequence([9] * 6)
    bench.add(long)
    bench.step()
    bench.add(short)
    plan = bench.step()
    assert short.num_generated == 1
    assert [(chunk.sequence, chunk.count) for chunk in plan.chunks] == [(long, 10), (short, 6)]


def test_short_prompts_without_end_hold_up_no_long_one():
    bench = Bench(token_budget=16, context_length=400, num_blocks=200)
    long = sequence(300)
    bench.add(long)
    steps = 0
    while not long.num_generated and steps < 100:
        bench.add(*[sequence(10, max_tokens=1) for _ in range(3)])
        bench.step()
        steps += 1
    assert steps <= 300 / 8 + 1


def test_the_budget_is_used_up_while_there_is_work():
    bench = Bench(token_budget=16, context_length=400, num_blocks=200)
    bench.add(*[sequence([n] * 50, max_tokens=1) for n in range(1, 5)])
    totals = [sum(chunk.count for chunk in bench.step().chunks) for _ in range(12)]
    assert totals == [16] * 12


def test_a_shared_prefix_is_computed_once():
    bench = Bench()
    bench.add(sequence(12))
    bench.run()
    second = sequence(15)
    bench.add(second)
    assert [(chunk.start, chunk.count) for chunk in bench.step().chunks] == [(12, 3)]
    assert second.num_reused == 12
    assert bench.pool.num_hit_tokens == 12


def test_generated_tokens_are_reused_by_the_next_turn():
    bench = Bench()
    first = sequence(9, max_tokens=8)
    bench.add(first)
    bench.run()
    second = sequence([*first.token_ids, 5, 5])
    bench.add(second)
    bench.step()
    assert second.num_reused == 16  # the last sampled token was never computed


def test_tenants_share_no_block():
    bench = Bench()
    bench.add(sequence(12, tenant="bakery"))
    bench.run()
    other = sequence(12, tenant="butcher")
    bench.add(other)
    bench.run()
    assert other.num_reused == 0


# The queue


def test_a_flood_does_not_hold_up_another_conversation():
    bench = Bench(max_running=4)
    flood = [sequence([n % 5 + 1] * 8, max_tokens=10, conversation="flood") for n in range(50)]
    bench.add(*flood)
    bench.step()
    single = sequence(8, max_tokens=10, conversation="single")
    bench.add(single)
    arrived = bench.steps
    bench.until(lambda: single.num_generated)
    assert bench.steps - arrived <= 14  # until the first of the flood is done, not the fiftieth
    assert sum(one.status is SequenceStatus.FINISHED for one in flood) <= 4


def test_a_flood_does_not_take_every_place_at_once():
    bench = Bench(max_running=4, token_budget=64)
    single = sequence([9] * 8, conversation="single")
    bench.add(*[sequence(8, conversation="flood") for _ in range(50)], single)
    bench.step()
    assert single in bench.scheduler.running


def test_generating_counts_more_than_reading():
    bench = Bench(max_running=1, reuse=False)
    talkers = [sequence(4, max_tokens=20, conversation="talker") for _ in range(2)]
    readers = [sequence(24, max_tokens=1, conversation="reader") for _ in range(2)]
    bench.add(*talkers, *readers)
    bench.run()
    assert list(bench.expected) == [talkers[0], *readers, talkers[1]]


def test_conversations_take_turns():
    bench = Bench(max_running=1, reuse=False)
    many = [sequence(8, conversation="many") for _ in range(3)]
    few = [sequence(8, conversation=name) for name in "ab"]
    bench.add(*many, *few)
    bench.run()
    assert list(bench.expected) == [many[0], few[0], few[1], many[1], many[2]]


def test_equal_conversation_names_of_two_tenants_are_two_conversations():
    queue = FairQueue()
    queue.push(sequence(1, conversation="x", tenant="a"))
    queue.push(sequence(1, conversation="x", tenant="b"))
    assert queue.num_conversations == 2


def test_idling_saves_up_no_claims():
    queue = FairQueue()
    busy = sequence(1, conversation="busy")
    queue.push(busy)
    queue.take(busy)
    queue.charge(busy, 1000)
    queue.push(back := sequence(1, conversation="back"))
    queue.push(again := sequence(1, conversation="busy"))
    assert queue.first() is again  # both have 1000, and "busy" was there first
    queue.charge(again, 1)
    assert queue.first() is back


def test_a_preempted_sequence_goes_before_newcomers():
    queue = FairQueue()
    old = sequence(1, conversation="old")
    queue.push(old)
    queue.push(sequence(1))
    queue.take(old)
    queue.charge(old, 1000)
    old.num_preemptions = 1
    queue.push_back(old)
    assert queue.first() is old


def test_a_full_queue_is_overloaded_and_says_when_to_come_back():
    bench = Bench(max_waiting=2)
    bench.add(sequence(1), sequence(1))
    with pytest.raises(Overloaded) as caught:
        bench.add(sequence(1))
    assert (caught.value.status, caught.value.code) == (429, "overloaded")
    assert isinstance(caught.value, Unavailable)
    assert 1 <= caught.value.retry_after <= 60
    bench.step()
    bench.add(sequence(1))
    bench.run()


@pytest.mark.parametrize(
    ("waiting", "ends", "seconds"),
    [(10, [], 5), (10, [98.0, 99.0], 5), (10, [99.9] * 32, 1), (256, [0.0, 99.0], 60)],
)
def test_the_wait_goes_by_the_recent_rate(waiting, ends, seconds):
    assert _retry_after(waiting, deque(ends), now=100.0) == seconds


@pytest.mark.parametrize("can_slide", [False, True])
def test_a_prompt_that_can_never_fit_is_refused(can_slide):
    bench = Bench(num_blocks=100, context_length=20, can_slide=can_slide)
    with pytest.raises(ContextTooLong) as caught:
        bench.add(sequence(20))
    assert caught.value.limit == 19
    small = Bench(num_blocks=2, can_slide=can_slide)
    with pytest.raises(ContextTooLong):
        small.add(sequence(8))
    bench.add(sequence(19))
    bench.run()


def test_generation_ends_where_the_cache_does():
    for bench in (Bench(context_length=20), Bench(num_blocks=5)):
        one = sequence(15, max_tokens=100)
        bench.add(one)
        bench.run()
        assert (len(one.token_ids), one.finish_reason) == (20, "length")


# Making room


def test_the_last_admitted_makes_room_and_resumes():
    bench = Bench(num_blocks=6, block_size=4, context_length=24)
    older, newer = sequence([1] * 6, max_tokens=14), sequence([2] * 6, max_tokens=14)
    bench.add(older, newer)
    bench.run()
    assert (older.num_preemptions, newer.num_preemptions) == (0, 1)
    assert bench.scheduler.num_preemptions == 1
    assert older.generated_ids == alone(older)
    assert newer.generated_ids == alone(newer)


def test_a_preempted_sequence_finds_what_is_left_of_its_blocks():
    bench = Bench(num_blocks=6, block_size=4, context_length=24)
    older, newer = sequence([1] * 6, max_tokens=14), sequence([2] * 6, max_tokens=14)
    bench.add(older, newer)
    bench.until(lambda: newer.num_preemptions)
    plan = bench.until(lambda: newer.status is SequenceStatus.RUNNING)
    (chunk,) = [chunk for chunk in plan.chunks if chunk.sequence is newer]
    assert chunk.start >= 4


def test_a_newcomer_waits_until_there_is_room_for_all_of_it():
    bench = Bench(num_blocks=6, block_size=4, context_length=24)
    bench.add(sequence([1] * 12, max_tokens=8))
    bench.step()
    bench.add(sequence([2] * 8, max_tokens=1))
    bench.step()  # two blocks are free, but one of them is for the next tokens of who runs
    assert bench.pool.num_free == 2
    assert (bench.scheduler.num_running, bench.scheduler.num_waiting) == (1, 1)
    bench.run()
    assert bench.scheduler.num_preemptions == 0


# Sliding


def test_sliding_keeps_sinks_and_window():
    bench = Bench(block_size=4, context_length=32, can_slide=True, reuse=False)
    one = sequence(20, max_tokens=100)
    bench.add(one)
    plan = bench.until(lambda: bench.shifts)
    (shift,) = plan.shifts
    sink = one.blocks[0]
    assert (shift.by, shift.copies) == (8, ((sink, sink),))
    assert (one.num_dropped, one.num_cached) == (8, 25)
    positions = [position for _, _, position in bench.expected[one]]
    assert positions == list(range(8, 33))  # side by side, and running on
    bench.run()
    assert (one.num_generated, one.finish_reason) == (100, "length")
    assert one.generated_ids == alone(one)


def test_sinks_that_others_may_find_are_copied():
    bench = Bench(block_size=4, context_length=32, can_slide=True)
    one = sequence(20, max_tokens=40)
    bench.add(one)
    bench.until(lambda: bench.shifts)
    ((source, target),) = bench.shifts[0].copies
    assert source != target
    bench.run()
    assert bench.shifts[1].copies == ((target, target),)
    again = sequence(20, max_tokens=1)
    bench.add(again)
    bench.run()
    assert again.num_reused >= 4


def test_a_slid_sequence_publishes_nothing_more():
    bench = Bench(block_size=4, context_length=32, can_slide=True)
    one = sequence(20, max_tokens=60)
    bench.add(one)
    bench.run()
    again = sequence([*one.token_ids[:31]])
    bench.add(again)
    bench.step()
    assert again.num_reused <= 28


@pytest.mark.parametrize("length", range(1, 9))
def test_others_make_room_before_a_slid_sequence(length):
    # Given: an older sequence that grows when the newer one has slid, and room for less than both
    bench = Bench(num_blocks=12, block_size=4, context_length=32, can_slide=True, token_budget=64)
    older, slid = sequence([9] * length, max_tokens=24), sequence(28, max_tokens=70)
    bench.add(older, slid)
    bench.until(lambda: older.num_preemptions)
    assert slid.num_dropped > 0
    bench.run()
    assert slid.num_preemptions == 0
    assert bench.scheduler.take_finished() == []
    assert older.generated_ids == alone(older)


def test_the_last_of_slid_sequences_ends_when_only_they_are_left():
    # Given: two that share the blocks that they will drop, in a cache that holds both only thanks to that
    bench = Bench(num_blocks=15, block_size=4, context_length=32, can_slide=True)
    older, newer = sequence(12, max_tokens=60), sequence(12, max_tokens=60)
    for one in (older, newer):
        bench.add(one)
        bench.step()
    assert newer.num_reused == 8
    bench.run()
    assert len(bench.shifts) > 2
    assert bench.scheduler.take_finished() == [newer]
    assert (newer.finish_reason, newer.num_preemptions) == ("length", 0)
    assert 20 < newer.num_generated < 60
    assert older.generated_ids == alone(older)


def test_a_sequence_preempted_when_it_should_slide_resumes_and_slides():
    bench = Bench(num_blocks=8, block_size=4, context_length=32, can_slide=True)
    one = sequence(20, max_tokens=30)
    bench.add(one)
    bench.until(lambda: len(one.token_ids) == 33)
    bench.scheduler._preempt(Plan(), one)
    bench.run()
    assert (one.num_preemptions, one.num_dropped > 0) == (1, True)
    assert one.generated_ids == alone(one)


def test_a_context_too_short_to_slide_ends():
    bench = Bench(block_size=4, context_length=8, can_slide=True)
    one = sequence(4, max_tokens=100)
    bench.add(one)
    bench.run()
    assert len(one.token_ids) == 8


# Leaving


def test_abandoned_sequences_are_given_back_once():
    bench = Bench(max_running=1)
    running, waiting, late = sequence(4), sequence(4), sequence(4, deadline=time.monotonic() - 1)
    bench.add(running, waiting, late)
    bench.scheduler.schedule()
    running.cancel()
    waiting.cancel()
    assert bench.step().is_empty
    assert set(bench.scheduler.take_finished()) == {running, waiting, late}
    assert bench.scheduler.take_finished() == []
    assert {one.finish_reason for one in (running, waiting, late)} == {None}
    assert bench.pool.num_used == 0


def test_a_broken_step_ends_what_runs_and_forgets_the_cache():
    bench = Bench(max_running=1)
    first, second = sequence(12), sequence(12)
    bench.add(first, second)
    bench.step()
    assert bench.scheduler.clear() == [first]
    assert bench.scheduler.num_waiting == 1
    bench.run()
    assert second.num_reused == 0


def test_failing_all_leaves_nobody():
    bench = Bench(max_running=1)
    sequences = [sequence(5) for _ in range(3)]
    bench.add(*sequences[:2])
    bench.step()
    bench.add(sequences[2])
    assert set(bench.scheduler.fail_all()) == set(sequences)
    assert (bench.scheduler.num_running, bench.scheduler.num_waiting, bench.pool.num_used) == (0, 0, 0)


def test_finishing_is_idempotent_and_a_computed_plan_may_hold_the_finished():
    bench = Bench()
    one = sequence(5)
    bench.add(one)
    plan = bench.scheduler.schedule()
    bench.scheduler.finish(one)
    bench.scheduler.finish(one)
    bench.scheduler.advance(plan)
    assert bench.pool.num_used == 0


def test_a_scheduler_that_could_run_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Bench(max_running=0)


# A sequence by itself


def test_the_end_token_ends_and_is_not_kept():
    one = sequence([5, 6], max_tokens=9, eos_ids=frozenset({END}))
    one.append(7)
    one.append(END)
    assert (one.generated_ids, one.finish_reason) == ([7], "stop")
    assert (one.num_prompt, one.num_generated, one.prompt_ids) == (2, 1, [5, 6])


def test_the_last_allowed_token_ends_and_is_kept():
    one = sequence([5], max_tokens=2)
    one.append(END)
    assert one.finish_reason is None
    one.append(END)
    assert (one.generated_ids, one.finish_reason) == ([END, END], "length")


def test_chunks_know_whether_they_are_sampled():
    one = sequence(5)
    assert [Chunk(one, 0, 4).is_last, Chunk(one, 4, 1).is_last] == [False, True]
    assert Plan().is_empty
