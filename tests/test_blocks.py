"""The block pool: nothing is held twice or lost, and only what is the same is found again."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.generation.blocks import BlockPool


def fill(pool, tokens, tenant=""):
    """Hold and publish blocks for these tokens, as a sequence does: the blocks."""
    reused = pool.match(tenant, tokens)
    pool.share(reused, queried=len(tokens))
    blocks = reused + pool.allocate(pool.blocks_for(len(tokens)) - len(reused))
    pool.publish(tenant, tokens, blocks, len(tokens))
    return blocks


def test_the_same_tokens_find_the_same_full_blocks():
    pool = BlockPool(8, 4)
    blocks = fill(pool, list(range(10)))
    assert pool.match("", list(range(12))) == blocks[:2]
    assert pool.match("", [*range(7), 99, 8]) == blocks[:1]
    assert pool.match("", [99, *range(1, 9)]) == []


def test_equal_tokens_after_another_prefix_are_not_the_same():
    pool = BlockPool(8, 2)
    fill(pool, [1, 2, 7, 7])
    assert pool.match("", [3, 4, 7, 7, 0]) == []


def test_one_token_is_always_left_to_compute():
    pool = BlockPool(8, 4)
    blocks = fill(pool, list(range(8)))
    assert pool.match("", list(range(8))) == blocks[:1]
    assert pool.match("", list(range(9))) == blocks


def test_tenants_share_no_block():
    pool = BlockPool(8, 2)
    fill(pool, [1, 2, 3, 4], "bakery")
    assert pool.match("butcher", [1, 2, 3, 4]) == []
    assert len(pool.match("bakery", [1, 2, 3, 4])) == 1


def test_a_tenant_may_have_any_name():
    pool = BlockPool(8, 2)
    fill(pool, [1, 2, 3], "\ud800")
    assert len(pool.match("\ud800", [1, 2, 3])) == 1


def test_digests_differ_between_processes():
    digests = [next(iter(pool._index)) for pool in (BlockPool(2, 2), BlockPool(2, 2)) if fill(pool, [1, 2])]
    assert digests[0] != digests[1]


def test_tokens_not_yet_computed_are_not_found():
    pool = BlockPool(8, 2)
    blocks = pool.allocate(2)
    pool.publish("", [1, 2, 3, 4], blocks, 3)
    assert pool.match("", [1, 2, 3, 4, 5]) == blocks[:1]


def test_without_reuse_nothing_is_found():
    pool = BlockPool(8, 2, reuse=False)
    pool.release(fill(pool, [1, 2, 3, 4]))
    assert pool.match("", [1, 2, 3, 4, 5]) == []
    assert pool.num_free == 8


def test_released_prefixes_stay_until_their_blocks_are_needed():
    pool = BlockPool(4, 2)
    kept = fill(pool, [1, 2, 3, 4])
    pool.release(kept)
    assert (pool.num_free, pool.num_used) == (4, 0)
    blank = pool.allocate(2)
    assert not set(blank) & set(kept)
    assert pool.match("", [1, 2, 3, 4, 5]) == kept
    assert pool.num_evictions == 0


def test_later_blocks_of_a_sequence_are_evicted_before_earlier_ones():
    pool = BlockPool(3, 1)
    blocks = fill(pool, [1, 2, 3])
    pool.release(blocks)
    assert pool.allocate(2) == [blocks[2], blocks[1]]
    assert pool.match("", [1, 2, 3, 4]) == blocks[:1]
    assert pool.num_evictions == 2


def test_the_least_recently_used_prefix_is_evicted_first():
    pool = BlockPool(3, 2)
    held = [fill(pool, [token, token]) for token in (1, 2, 3)]
    for blocks in held:
        pool.release(blocks)
    again = pool.match("", [1, 1, 1])
    pool.share(again)
    pool.release(again)
    assert pool.allocate(3) == [*held[1], *held[2], *held[0]]


def test_shared_blocks_are_free_when_the_last_holder_lets_go():
    pool = BlockPool(4, 2)
    first = fill(pool, [1, 2, 3])
    second = fill(pool, [1, 2, 4])
    assert first[0] == second[0]
    assert pool.num_used == 3
    pool.release(first)
    assert pool.num_used == 2
    pool.release(second)
    assert pool.num_used == 0


def test_what_was_computed_twice_is_indexed_once():
    pool = BlockPool(4, 2)
    one, two = pool.allocate(1), pool.allocate(1)
    pool.publish("", [1, 2], one, 2)
    pool.publish("", [1, 2], two, 2)
    assert pool.match("", [1, 2, 3]) == one
    pool.release(two)
    pool.release(one)
    assert pool.match("", [1, 2, 3]) == one


def test_a_second_copy_takes_the_place_of_an_evicted_first():
    pool = BlockPool(2, 1)
    one, two = pool.allocate(1), pool.allocate(1)
    pool.publish("", [1], one, 1)
    pool.publish("", [1], two, 1)
    pool.release(one)
    assert pool.allocate(1) == one
    pool.release(two)
    assert pool.match("", [1, 2]) == two


def test_a_claimed_block_is_never_found_again():
    pool = BlockPool(2, 1)
    one, two = pool.allocate(1), pool.allocate(1)
    pool.publish("", [1], one, 1)
    pool.publish("", [1], two, 1)
    assert not pool.claim(one[0])
    assert pool.claim(two[0])
    pool.release(one)
    pool.allocate(1)
    pool.release(two)
    assert pool.match("", [1, 2]) == []


def test_too_many_blocks_are_not_given_and_none_is_lost():
    pool = BlockPool(2, 1)
    assert pool.allocate(3) is None
    assert pool.num_free == 2


def test_releasing_twice_is_a_bug():
    pool = BlockPool(2, 1)
    blocks = pool.allocate(1)
    pool.release(blocks)
    with pytest.raises(AssertionError, match="twice"):
        pool.release(blocks)


def test_forgetting_makes_every_prefix_unfindable_and_loses_no_block():
    pool = BlockPool(4, 1)
    held = fill(pool, [1, 2])
    pool.release(fill(pool, [3, 4]))
    pool.forget()
    assert pool.match("", [1, 2, 3]) == pool.match("", [3, 4, 5]) == []
    pool.release(held)
    assert pool.num_free == 4


def test_hits_are_counted_in_tokens():
    pool = BlockPool(8, 2)
    fill(pool, [1, 2, 3, 4, 5])
    fill(pool, [1, 2, 3, 4, 6])
    assert (pool.num_queried_tokens, pool.num_hit_tokens) == (10, 4)


@pytest.mark.parametrize(("num_blocks", "block_size"), [(0, 16), (16, 0)])
def test_a_cache_without_room_is_refused(num_blocks, block_size):
    with pytest.raises(ValueError, match="blocks"):
        BlockPool(num_blocks, block_size)


class PoolMachine(RuleBasedStateMachine):
    """Any holders in any order, against a plain memory of what each block was written with."""

    def __init__(self):
        super().__init__()
        self.pool = BlockPool(8, 2)
        self.held = []  # of (tenant, tokens, blocks, computed)
        self.written = {}  # block → (tenant, tokens up to its end)

    @rule(tenant=st.sampled_from("ab"), tokens=st.lists(st.integers(0, 1), min_size=1, max_size=9))
    def admit(self, tenant, tokens):
        reused = self.pool.match(tenant, tokens)
        for number, block in enumerate(reused):
            assert self.written[block] == (tenant, tokens[: (number + 1) * 2])
        self.pool.share(reused)
        new = self.pool.allocate(self.pool.blocks_for(len(tokens)) - len(reused))
        if new is None:
            self.pool.release(reused)
        else:
            self.held.append([tenant, tokens, reused + new, len(reused) * 2])

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def compute(self, data):
        holder = data.draw(st.sampled_from(self.held))
        tenant, tokens, blocks, computed = holder
        holder[3] = upto = data.draw(st.integers(computed, len(tokens)))
        for index in range(computed, upto):
            assert self.pool.is_private(blocks[index // 2])
            self.written[blocks[index // 2]] = (tenant, tokens[: index + 1])
        self.pool.publish(tenant, tokens, blocks, upto)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data):
        holder = data.draw(st.sampled_from(self.held))
        self.held.remove(holder)
        self.pool.release(holder[2])

    @invariant()
    def every_block_is_held_or_free(self):
        held = {block for holder in self.held for block in holder[2]}
        assert self.pool.num_used == len(held)
        assert self.pool.num_free == 8 - len(held)


TestAnyUse = PoolMachine.TestCase
TestAnyUse.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
