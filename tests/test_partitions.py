"""Who has which conversations: shared evenly, passed on when somebody dies, refused to who was too late."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisAway
from scripted import conversation, until

import bots.partitions
from bots import keys
from bots.errors import LeaseLost
from bots.partitions import Partitions, partition_of, survey


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    for name, seconds in {"BUSY_LIFE": 0.3, "IDLE_LIFE": 0.3, "BUSY_BEAT": 0.05, "IDLE_BEAT": 0.05}.items():
        monkeypatch.setattr(bots.partitions, name, seconds)


@pytest.fixture
def workers(store):
    """So many workers' shares, settled."""

    async def settled(count, **options):
        made = [Partitions(store.redis, **options) for _ in range(count)]
        await settle(made)
        return made

    return settled


async def settle(workers, rounds=4):
    for _ in range(rounds):
        for worker in workers:
            await worker.look_after({})


async def owners(store):
    found = await survey(store.redis)
    return [found.owner(partition) for partition in range(keys.PARTITIONS)]


def test_a_conversation_belongs_to_the_same_partition_for_ever():
    assert [partition_of(conversation(str(channel))) for channel in range(4)] == [6, 7, 4, 5]


@pytest.mark.parametrize(
    ("count", "shares"), [(1, [64]), (3, [21, 21, 22]), (4, [16] * 4), (7, [9] * 6 + [10])]
)
async def test_partitions_are_shared_evenly(store, workers, count, shares):
    made = await workers(count)
    assert sorted(len(worker.tokens) for worker in made) == shares
    assert None not in await owners(store)


async def test_a_worker_that_comes_gets_its_share_and_one_that_leaves_gives_it_back(workers):
    first, second = await workers(2)
    third = (await workers(1))[0]
    await settle([first, second, third])
    assert sorted(len(worker.tokens) for worker in (first, second, third)) == [21, 21, 22]
    await second.leave()
    await settle([first, third], rounds=1)
    assert len(first.tokens) == len(third.tokens) == 32


async def test_what_a_dead_worker_had_goes_to_the_others(store, workers):
    first, dead = await workers(2)
    had = set(dead.tokens)

    async def has_all():
        await first.look_after({})
        return len(first.tokens) == keys.PARTITIONS

    await until(has_all, 2)
    assert had <= set(first.tokens)
    assert set(await owners(store)) == {first.id}


async def test_partitions_with_messages_in_hand_are_not_given_back(workers):
    (first,) = await workers(1)
    in_hand = dict.fromkeys(range(keys.PARTITIONS), 1)
    second = (await workers(1))[0]
    await first.look_after(in_hand)
    await second.look_after({})
    assert (len(first.tokens), len(second.tokens)) == (64, 0)
    await first.look_after({7: 1})
    assert len(first.tokens) == 32
    assert 7 in first.tokens


async def test_a_worker_that_was_paused_keeps_what_nobody_took(workers):
    (only,) = await workers(1)
    had = dict(only.tokens)
    await asyncio.sleep(0.4)
    await only.look_after({})
    assert only.tokens == had


async def test_a_worker_that_was_paused_is_refused_what_others_took(store, workers):
    (paused,) = await workers(1)
    token = paused.token(5)
    await asyncio.sleep(0.4)
    await workers(1)
    with pytest.raises(LeaseLost):
        await paused.confirm(5, token)
    with pytest.raises(LeaseLost):
        paused.token(5)


async def test_a_partition_that_comes_back_has_another_token(workers):
    (first,) = await workers(1)
    token = first.token(5)
    await first.release([5])
    await first.look_after({})
    with pytest.raises(LeaseLost):
        await first.confirm(5, token)
    assert int(first.token(5).rpartition(":")[2]) > int(token.rpartition(":")[2])


async def test_what_is_ours_is_confirmed_without_asking_redis(store, workers, monkeypatch):
    (only,) = await workers(1)
    await store.redis.delete(keys.LEASES)
    await only.confirm(5, only.token(5))  # it was ours a moment ago, and for as long nobody may take it
    await asyncio.sleep(0.35)
    with pytest.raises(LeaseLost):
        await only.confirm(5, only.tokens[5])


async def test_after_redis_lost_everything_partitions_are_taken_again_with_an_alarm(store, workers, caplog):
    (only,) = await workers(1)
    await store.redis.flushall()
    await asyncio.sleep(0.1)
    await settle([only])
    assert len(only.tokens) == keys.PARTITIONS
    assert "lost data" in caplog.text


async def test_a_guest_works_while_nobody_else_does(workers):
    (guest,) = await workers(1, is_guest=True)
    assert len(guest.tokens) == keys.PARTITIONS
    (stays,) = await workers(1)
    await settle([guest, stays])
    assert (len(guest.tokens), len(stays.tokens)) == (0, keys.PARTITIONS)


async def test_a_guest_waits_for_a_worker_that_may_come_back(workers, monkeypatch):
    monkeypatch.setattr(bots.partitions, "GUEST_SECONDS", 0.5)
    (stays,) = await workers(1)
    (guest,) = await workers(1, is_guest=True)
    await stays.leave()
    await guest.look_after({})
    assert not guest.tokens
    await asyncio.sleep(0.55)
    await guest.look_after({})
    assert len(guest.tokens) == keys.PARTITIONS


async def test_an_idle_worker_writes_one_key_a_beat(store, workers):
    (only,) = await workers(1)
    before = (await store.redis.info("persistence"))["rdb_changes_since_last_save"]
    for _ in range(20):
        await only.look_after({})
    assert (await store.redis.info("persistence"))["rdb_changes_since_last_save"] - before <= 1


@pytest.mark.parametrize(("script", "arrives"), [("_take", True), ("_release", True), ("_release", False)])
async def test_a_script_without_an_answer_leaves_no_partition_without_an_owner(
    store, workers, monkeypatch, script, arrives
):
    # Given a worker that has everything, and one that comes
    (first,) = await workers(1)
    second = Partitions(store.redis)
    await second.look_after({})
    if script == "_take":
        await first.look_after({})
    # When what one gives back or the other takes has no answer
    unlucky = second if script == "_take" else first
    run = getattr(unlucky, script)

    async def unanswered(**parts):
        if arrives:
            await run(**parts)
        raise RedisAway("no answer")

    with monkeypatch.context() as broken:
        broken.setattr(unlucky, script, unanswered)
        with pytest.raises(RedisAway):
            await unlucky.look_after({})
    # Then soon each has its share all the same, and knows it
    await settle([first, second])
    have = {partition: worker.id for worker in (first, second) for partition in worker.tokens}
    assert (len(first.tokens), len(second.tokens)) == (32, 32)
    assert [have[partition] for partition in range(keys.PARTITIONS)] == await owners(store)
