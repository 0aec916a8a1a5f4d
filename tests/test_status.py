"""`frontdesk status`: what waits, who works, what was given up; true, quick, and touching nothing."""

import json
import time

import pytest
import typer
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from scripted import ANNA, BEN, conversation, raw_redis, until
from typer.testing import CliRunner

from bots import keys
from bots.message import Rating
from bots.partitions import Partitions
from bots.pulse import Connection
from bots.redis_server import socket_path
from bots.status import prometheus, read_status
from bots.status_cli import status

# KEYS: partition   ARGV: how many entries   Nine of ten come from Discord.
FILL = """
for i = 1, ARGV[1] do
  redis.call('XADD', KEYS[1], '*', 'm', string.rep('x', 200), 'p', i % 10 == 0 and 'slack' or 'discord')
end
"""


async def wait(redis, partition, *platforms, seconds_ago=0.0):
    """Messages that came some time ago by Redis' clock."""
    now, microseconds = await redis.time()
    came = int((now + microseconds / 1e6 - seconds_ago) * 1000)
    for number, platform in enumerate(platforms, 1):
        entry = {"m": b"sealed", "p": platform}
        await redis.xadd(keys.inbox(partition), entry, id=f"{came}-{number}")


async def connect(redis, platform, state):
    now = time.time()
    found = {"platform": platform, "state": state, "since": now, "events": 3, "losses": 1, "seen": now}
    await redis.hset(keys.CONNECTIONS, platform, json.dumps(found))


async def test_with_nothing_there_everything_is_nought(store):
    found = await read_status(store.redis)
    assert (found.backlog, found.oldest_waiting_seconds, found.in_flight) == (0, 0.0, 0)
    assert (found.platforms, found.busiest, found.workers, found.connections) == ({}, (), (), ())
    assert (found.dead_letters, found.ratings.rated, found.unattended) == (0, 0, 0)
    assert found.counters == {"answered": 0, "told": 0, "dead": 0}


async def test_it_tells_what_waits_where_and_since_when(store):
    await wait(store.redis, 3, "discord", seconds_ago=5)
    await wait(store.redis, 60, "discord", "slack", "slack", seconds_ago=90)
    found = await read_status(store.redis)
    assert (found.backlog, found.platforms, found.is_estimated) == (4, {"discord": 2, "slack": 2}, False)
    assert [(load.partition, load.waiting) for load in found.busiest] == [(60, 3), (3, 1)]
    assert 90 <= found.oldest_waiting_seconds < 95


async def test_it_tells_who_works_and_what_nobody_looks_after(store):
    one, two = Partitions(store.redis), Partitions(store.redis)
    for worker in (one, two, one, two):  # the first takes all, gives half of them back, the second takes it
        await worker.look_after({0: 3} if worker is one else {})
    found = await read_status(store.redis)
    workers = {worker.id: (worker.partitions, worker.in_hand) for worker in found.workers}
    assert workers == {one.id: (32, 3), two.id: (32, 0)}
    assert (found.in_flight, found.unattended) == (3, 0)


async def test_what_waits_without_a_living_worker_is_told(store):
    gone = Partitions(store.redis)
    await gone.look_after({})
    await wait(store.redis, 4, "slack")
    await store.redis.hset(keys.WORKERS, gone.id, "1 5")  # its time was over long ago
    found = await read_status(store.redis)
    assert (found.workers, found.in_flight, found.unattended) == ((), 0, 1)


async def test_it_tells_letters_ratings_counters_and_connections(store):
    for author, is_helpful in ((ANNA, True), (BEN, False)):
        await store.feedback.rate(Rating(conversation(), "test:1", author.id, is_helpful))
    await store.redis.xadd(keys.DEAD_LETTERS, {"m": b"sealed"})
    await store.redis.hset(keys.COUNTERS, mapping={"answered": 12, "engine_failures": 2})
    await connect(store.redis, "slack", "silent")
    found = await read_status(store.redis)
    assert found.dead_letters == 1
    assert found.ratings == await store.feedback.tally()
    assert found.counters == {"answered": 12, "told": 0, "dead": 0, "engine_failures": 2}
    [connection] = found.connections
    assert isinstance(connection, Connection)
    assert (connection.platform, connection.state, connection.losses) == ("slack", "silent", 1)


async def test_a_hundred_thousand_that_wait_are_told_at_once_and_left_alone(store):
    for partition in range(keys.PARTITIONS):
        await store.redis.eval(FILL, 1, keys.inbox(partition), 100_000 // keys.PARTITIONS + partition)
    before = [await store.redis.xinfo_stream(keys.inbox(partition)) for partition in range(64)]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        found = await read_status(store.redis)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.2
    assert found.backlog == sum(info["length"] for info in before) > 100_000
    assert found.is_estimated
    assert sum(found.platforms.values()) == pytest.approx(found.backlog, rel=0.001)
    assert found.platforms["slack"] == pytest.approx(found.backlog / 10, rel=0.3)
    assert [await store.redis.xinfo_stream(keys.inbox(partition)) for partition in range(64)] == before


async def test_a_look_changes_nothing(store):
    await wait(store.redis, 1, "discord")
    await Partitions(store.redis).look_after({1: 1})
    before = await raw_redis(store.redis)
    await read_status(store.redis)
    assert await raw_redis(store.redis) == before


async def test_prometheus_reads_the_same_figures(store):
    await wait(store.redis, 1, "discord", "slack", seconds_ago=30)
    await Partitions(store.redis).look_after({1: 1})
    await connect(store.redis, "discord", "connected")
    await connect(store.redis, "slack", "reconnecting")
    await store.redis.hset(keys.COUNTERS, "answered", 12)
    await store.feedback.rate(Rating(conversation(), "test:1", ANNA.id, True))
    text = prometheus(await read_status(store.redis))
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    values = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert values["frontdesk_oldest_waiting_seconds",] >= 30
    del values["frontdesk_oldest_waiting_seconds",]
    assert values == {
        ("frontdesk_backlog",): 2,
        ("frontdesk_in_flight",): 1,
        ("frontdesk_workers",): 1,
        ("frontdesk_unattended_partitions",): 0,
        ("frontdesk_dead_letters",): 0,
        ("frontdesk_ratings", "yes"): 1,
        ("frontdesk_ratings", "no"): 0,
        ("frontdesk_platform_backlog", "discord"): 1,
        ("frontdesk_platform_backlog", "slack"): 1,
        ("frontdesk_platform_connected", "discord"): 1,
        ("frontdesk_platform_connected", "slack"): 0,
        ("frontdesk_answered_total",): 12,
        ("frontdesk_told_total",): 0,
        ("frontdesk_dead_total",): 0,
    }


def test_the_command_says_what_somebody_has_to_look_after(redis_url, monkeypatch):
    app = typer.Typer()
    app.command()(status)
    monkeypatch.setenv("FRONTDESK_REDIS_URL", redis_url)
    monkeypatch.setenv("FRONTDESK_DISCORD_TOKEN", "no-token")
    found = json.loads(CliRunner().invoke(app, ["--json"]).stdout)
    assert found["backlog"] == 0
    assert [alarm.partition(":")[0] for alarm in found["alarms"]] == ["no worker is running", "discord"]
    shown = CliRunner().invoke(app, []).stdout
    assert "workers         0" in shown
    assert "`frontdesk discord`" in shown


async def test_beside_a_running_frontdesk_one_worker_has_every_partition(frontdesk_up):
    async with Redis.from_url(f"unix://{socket_path(frontdesk_up.data_dir)}") as redis:

        async def is_shared():
            return [worker.partitions for worker in (await read_status(redis)).workers] == [keys.PARTITIONS]

        await until(is_shared, 20)
