"""Scheduled work: each run once, however many workers there are and whenever they start."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from scripted import ANNA, Leased, ScriptedEngine, ScriptedSender, conversation, until, working

from bots import keys
from bots.commands import Schedule
from bots.history import Turn
from bots.jobs import Jobs, last_run, trigger_of
from bots.registry import Registry


async def news(ctx):
    return "The news of the hour."


def registry_of(*schedules):
    return Registry(schedules={schedule.name: schedule for schedule in schedules})


def every(seconds, function=news, name="news"):
    return Schedule(name, function, "test:general", every_seconds=seconds)


def at(when):
    """Once a day, at this time."""
    return Schedule("news", news, "test:general", cron=f"{when.minute} {when.hour} * * *")


@pytest.fixture
def jobs(store):
    """Make `Jobs` on this store's Redis; they are stopped at the end."""
    made = []

    def make(*schedules):
        made.append(Jobs(store.redis, store.inbox.put, registry_of(*schedules), store.privacy))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def due(store):
    """The runs that lie in the inbox."""

    async def runs():
        return [entry.content.id for entry in await Leased(store).take()]

    return runs


async def record(store):
    return json.loads(await store.redis.hget(keys.JOBS, "news"))


async def ran_before(store, when):
    await store.redis.hset(keys.JOBS, "news", json.dumps({"last_run": when.timestamp()}))


async def test_two_workers_put_each_run_once(jobs, due):
    for _ in range(2):
        jobs(every(1)).start()
    await asyncio.sleep(2.3)
    runs = await due()
    assert len(runs) in (2, 3)
    assert len(set(runs)) == len(runs)
    seconds = [int(run.rpartition(":")[2]) for run in runs]
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))
    assert time.time() - seconds[-1] < 2


async def test_a_run_by_cron_is_put_once(jobs, due, monkeypatch):
    """The trigger's own seconds: a minute is too long for a test."""
    from apscheduler.triggers.cron import CronTrigger

    monkeypatch.setattr("bots.jobs.trigger_of", lambda schedule: CronTrigger(second="*", timezone=UTC))
    for _ in range(2):
        jobs(Schedule("news", news, "test:general", cron="* * * * *")).start()
    await asyncio.sleep(1.3)
    runs = await due()
    assert 1 <= len(runs) <= 2
    assert len(set(runs)) == len(runs)


async def test_a_run_missed_while_nobody_worked_is_made_up_once(store, jobs, due):
    await ran_before(store, datetime.now(UTC) - timedelta(days=1))
    for _ in range(3):
        jobs(at(datetime.now(UTC) - timedelta(minutes=30))).start()
    await until(due)
    await asyncio.sleep(0.1)
    assert len(await due()) == 1
    jobs(at(datetime.now(UTC) - timedelta(minutes=30))).start()
    await asyncio.sleep(0.1)
    assert len(await due()) == 1


async def test_of_many_missed_runs_the_newest_is_made_up(store, jobs, due):
    await ran_before(store, datetime.now(UTC) - timedelta(days=1))
    jobs(every(600)).start()
    await until(due)
    await asyncio.sleep(0.1)
    (run,) = await due()
    assert time.time() - int(run.rpartition(":")[2]) <= 601


async def test_a_run_missed_by_more_than_an_hour_is_not_made_up(store, jobs, due):
    await ran_before(store, datetime.now(UTC) - timedelta(days=1))
    jobs(at(datetime.now(UTC) - timedelta(minutes=90))).start()
    await asyncio.sleep(0.2)
    assert await due() == []


async def test_a_run_that_was_made_is_not_made_up(store, jobs, due):
    when = datetime.now(UTC) - timedelta(minutes=30)
    await ran_before(store, when)
    jobs(at(when)).start()
    await asyncio.sleep(0.2)
    assert await due() == []


async def test_a_job_never_seen_before_waits_its_turn(store, jobs, due):
    jobs(at(datetime.now(UTC) - timedelta(minutes=30))).start()
    await until(lambda: store.redis.hexists(keys.JOBS, "news"))
    assert await due() == []


async def test_what_is_kept_in_redis_is_json(store, jobs, due):
    jobs(every(1)).start()
    await until(due)
    await until(lambda: store.redis.hexists(keys.JOBS, "news"))
    found = await record(store)
    assert (found["channel"], found["every_seconds"], found["cron"]) == ("test:general", 1, None)
    assert abs(found["last_run"] - time.time()) < 5


async def test_stopping_and_starting_again_goes_on(jobs, due):
    one = jobs(every(1))
    one.start()
    one.stop()
    one.stop()
    await asyncio.sleep(1.1)
    assert await due() == []
    one.start()
    await until(due)


async def test_the_purge_drops_what_is_too_old(store, jobs):
    entry = store.history.entry(conversation(), Turn("user", "old", ANNA))
    fields = {"e": entry.sealed, "a": entry.author_index}
    await store.redis.xadd(keys.history(conversation()), fields, id="1000-0")
    one = jobs()
    one.start()
    assert [job.id for job in one._scheduler.get_jobs()] == ["purge"]
    await one._purge()
    assert await store.redis.xlen(keys.history(conversation())) == 0


async def test_the_text_of_a_job_is_posted_to_its_channel_by_the_worker(store):
    async def failing(ctx):
        raise RuntimeError("a plugin's fault")

    async def silent(ctx):
        return None

    schedules = [every(1), every(1, failing, "failing"), every(1, silent, "silent")]
    sender = ScriptedSender()
    async with working(store, ScriptedEngine(), sender, registry=registry_of(*schedules)):
        await until(sender.texts)
    assert set(sender.texts("general")) == {"The news of the hour."}
    assert await store.history.recent(conversation()) == []


def test_a_weekday_by_number_is_the_day_that_cron_means():
    """Cron counts from Sunday, APScheduler from Monday."""
    from bots.commands import SPEC, cron

    @cron("0 9 * * 1", channel="test:general")
    def weekly(ctx): ...

    trigger = trigger_of(vars(weekly)[SPEC])
    assert trigger.get_next_fire_time(None, datetime(2024, 1, 3, tzinfo=UTC)) == datetime(
        2024, 1, 8, 9, tzinfo=UTC
    )  # a Monday


@pytest.mark.parametrize(
    ("seconds", "now", "expected"),
    [(600, (12, 34, 56), (12, 30, 0)), (3600, (12, 0, 0), (12, 0, 0)), (86400, (12, 0, 0), None)],
)
def test_the_last_run_is_the_newest_within_the_hour(seconds, now, expected):
    def moment(time_of_day):
        return datetime(2024, 1, 3, *time_of_day, tzinfo=UTC)

    found = last_run(trigger_of(every(seconds)), moment(now))
    assert found == (moment(expected) if expected else None)
