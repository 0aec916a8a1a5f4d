"""What adapters share: storing what a platform delivers only once."""

import asyncio
from types import SimpleNamespace

import pytest
import stamina
import tenacity
from redis.exceptions import ConnectionError as RedisAway

from bots.adapter import insist


@pytest.fixture
def clock(monkeypatch):
    """Pauses between attempts cost no time, but are counted."""
    clock = SimpleNamespace(now=0.0)

    async def sleep(seconds):
        clock.now += seconds
        await asyncio.sleep(0)

    monkeypatch.setattr(tenacity, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(stamina._core, "_smart_sleep", sleep)
    return clock


async def test_a_message_is_stored_however_long_redis_is_away(clock):
    stored = []

    async def store():
        if clock.now < 7200:
            raise RedisAway
        stored.append("message")

    await insist(store)
    assert stored == ["message"]
    assert clock.now < 7206


async def test_only_an_end_ends_insisting(clock):
    attempts = asyncio.Semaphore(0)

    async def store():
        attempts.release()
        raise RedisAway

    insisting = asyncio.create_task(insist(store))
    async with asyncio.timeout(5):
        for _ in range(1_500):
            await attempts.acquire()
    insisting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await insisting


async def test_what_is_no_trouble_with_redis_is_not_tried_again(clock):
    async def store():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await insist(store)
    assert clock.now == 0
