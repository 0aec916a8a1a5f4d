"""The lease: one holder at a time, by the clock of Redis."""

import asyncio

import pytest

import bots.lease
from bots.errors import LeaseLost
from bots.lease import Lease

KEY = "frontdesk:lease:test"


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    monkeypatch.setattr(bots.lease, "LEASE_MS", 300)
    monkeypatch.setattr(bots.lease, "_RENEW_SECONDS", 0.05)


@pytest.fixture
def leases(store):
    return Lease(store.redis, KEY), Lease(store.redis, KEY)


async def test_a_free_lease_is_taken_at_once_and_given_back(leases):
    first, _ = leases
    assert not await first.is_held()
    await asyncio.wait_for(first.acquire(), 0.2)
    assert await first.is_held()
    await first.release()
    assert not await first.is_held()


async def test_of_many_who_want_it_one_gets_it(store):
    wanting = [asyncio.create_task(Lease(store.redis, KEY).acquire()) for _ in range(10)]
    done, waiting = await asyncio.wait(wanting, timeout=0.15)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert len(done) == 1


async def test_whoever_keeps_it_keeps_it(leases):
    first, second = leases
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(second.acquire(), 0.8)
    first.let_go()
    await asyncio.wait_for(keeping, 1)


async def test_a_holder_that_died_is_followed_once_its_time_is_over(leases):
    first, second = leases
    await first.acquire()
    clock = asyncio.get_running_loop()
    started = clock.time()
    await asyncio.wait_for(second.acquire(), 2)
    assert 0.1 < clock.time() - started < 1


async def test_whoever_lost_it_is_told_and_does_not_take_it_back(store, leases):
    first, second = leases
    await first.acquire()
    await store.redis.set(KEY, second.token, px=10_000)
    with pytest.raises(LeaseLost):
        await first.keep()
    assert (await store.redis.get(KEY)).decode() == second.token
    assert await store.redis.pttl(KEY) > 5000


async def test_giving_back_what_is_anothers_changes_nothing(store, leases):
    first, second = leases
    await second.acquire()
    await first.release()
    assert (await store.redis.get(KEY)).decode() == second.token


async def test_every_lease_has_a_token_of_its_own(leases):
    assert leases[0].token != leases[1].token
