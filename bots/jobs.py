"""Scheduled work: plugins' schedules and the purge of expired history.

APScheduler keeps the time, in memory. What a job is and when it last ran lies as JSON in Redis, so that a
run missed while nobody worked is made up once. A due job becomes a message in the inbox, claimed by its
name and time: whichever worker is first, it runs once and survives a crash like any message.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from redis.asyncio import Redis

from bots import keys
from bots.adapter import insist
from bots.commands import Schedule
from bots.message import Author, ConversationKey, Message
from bots.privacy import Privacy
from bots.registry import Registry
from engine.log import logger

log = logger("bots.jobs")

# A run missed by more than this is not made up: nobody wants yesterday's reminder.
_GRACE = timedelta(hours=1)
_EPOCH = datetime.fromtimestamp(0, UTC)
_PURGE_SECONDS = 3600.0

Put = Callable[[Message], Awaitable[object]]


class Jobs:
    """Runs with the worker that has the first partition. `start` and `stop` may be called again and again."""

    def __init__(self, redis: Redis, put: Put, registry: Registry, privacy: Privacy) -> None:
        self._redis: Any = redis
        self._put, self._registry, self._privacy = put, registry, privacy
        self._scheduler: AsyncIOScheduler | None = None

    def start(self) -> None:
        """Schedule everything; runs missed within the last hour are made up at once."""
        if self._scheduler is not None:
            return
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        for schedule in self._registry.schedules.values():
            trigger = trigger_of(schedule)
            options = {"id": schedule.name, "coalesce": True, "misfire_grace_time": 60}
            self._scheduler.add_job(self._fire, trigger, [schedule, trigger], **options)
            self._scheduler.add_job(self._make_up, None, [schedule, trigger], id=f"{schedule.name} missed")
        purge = IntervalTrigger(seconds=_PURGE_SECONDS, start_date=_EPOCH, timezone=UTC)
        self._scheduler.add_job(self._purge, purge, id="purge", coalesce=True)
        self._scheduler.start()

    def stop(self) -> None:
        """Forget the schedule; runs that are in the inbox stay there."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            self._scheduler = None

    async def _fire(self, schedule: Schedule, trigger: BaseTrigger) -> None:
        await self._enqueue(schedule, last_run(trigger, datetime.now(UTC)))

    async def _make_up(self, schedule: Schedule, trigger: BaseTrigger) -> None:
        """Run once if a run fell into the time when nobody worked. A job never seen before waits its turn."""
        record = await self._redis.hget(keys.JOBS, schedule.name)
        now = datetime.now(UTC)
        due = last_run(trigger, now)
        if record is None:
            await self._note(schedule, due)
        elif due is not None and json.loads(record)["last_run"] < due.timestamp() and now - due < _GRACE:
            log.info("a scheduled run was missed and is made up", job=schedule.name)
            await self._enqueue(schedule, due)

    async def _enqueue(self, schedule: Schedule, due: datetime | None) -> None:
        if due is None:
            return
        platform, _, channel = schedule.channel.partition(":")
        message = Message(
            id=f"job:{schedule.name}:{due.timestamp():.0f}",
            conversation=ConversationKey(platform, "", channel),
            author=Author(""),
            text="",
            is_private=False,
            job=schedule.name,
        )
        await insist(lambda: self._put(message))
        await insist(lambda: self._note(schedule, due))

    async def _note(self, schedule: Schedule, due: datetime | None) -> None:
        record = {
            "channel": schedule.channel,
            "every_seconds": schedule.every_seconds,
            "cron": schedule.cron,
            "last_run": due.timestamp() if due else 0,
        }
        await self._redis.hset(keys.JOBS, schedule.name, json.dumps(record))

    async def _purge(self) -> None:
        if dropped := await self._privacy.purge():
            log.info("what was older than the retention time was dropped", turns_and_values=dropped)


def trigger_of(schedule: Schedule) -> BaseTrigger:
    """APScheduler's trigger. Intervals count from the epoch, so that every worker means the same times."""
    if schedule.cron is not None:
        return CronTrigger.from_crontab(schedule.cron, timezone=UTC)
    return IntervalTrigger(seconds=schedule.every_seconds, start_date=_EPOCH, timezone=UTC)


def last_run(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """The newest time at or before `now` at which the trigger was due, within the grace time."""
    found, candidate = None, trigger.get_next_fire_time(None, now - _GRACE)
    while candidate is not None and candidate <= now:
        found, candidate = candidate, trigger.get_next_fire_time(candidate, candidate + timedelta(seconds=1))
    return found
