"""How the delivery is: what waits, who works on it, what was given up, how the platforms are connected.

Reads Redis alone, changes nothing there, and stays fast however much waits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.asyncio import Redis

from bots import keys
from bots.feedback import Tally
from bots.partitions import Survey, survey
from bots.pulse import Connection, connections

# Messages up to which every one is asked for its platform, and how many of a partition beyond that.
_EXACT = 5000
_SAMPLE = 64
_BUSIEST = 5
# The kinds of what was counted are told apart in Redis; these are there from the start, with 0.
_COUNTERS = ("answered", "told", "dead")

# KEYS: partition   ARGV: how many of its oldest entries, how many of its newest
_COUNT_PLATFORMS = """
local found, flat = {}, {}
local function count(entries)
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    for i = 1, #fields, 2 do
      if fields[i] == 'p' then found[fields[i + 1]] = (found[fields[i + 1]] or 0) + 1 end
    end
  end
end
count(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1]))
if ARGV[2] ~= '0' then count(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[2])) end
for platform, number in pairs(found) do
  flat[#flat + 1] = platform
  flat[#flat + 1] = number
end
return flat
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What waits in one partition of the inbox."""

    partition: int
    waiting: int


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A living worker: how many partitions it has, and how many messages it has taken from them."""

    id: str
    partitions: int
    in_hand: int


@dataclass(frozen=True, slots=True)
class Status:
    """One look at everything."""

    backlog: int
    """Messages that are not finished, those in flight among them, and changes of them."""
    platforms: Mapping[str, int]
    """The backlog by platform."""
    is_estimated: bool
    """Whether `platforms` comes from a sample, because much is waiting."""
    busiest: tuple[Load, ...]
    oldest_waiting_seconds: float
    in_flight: int
    workers: tuple[WorkerState, ...]
    unattended: int
    """Partitions in which something waits and that no living worker has."""
    dead_letters: int
    ratings: Tally
    connections: tuple[Connection, ...]
    counters: Mapping[str, int]
    """Since the data was new."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


async def read_status(redis: Redis) -> Status:
    """Look at everything. Raises `RedisError`."""
    client: Any = redis
    async with client.pipeline(transaction=False) as pipe:
        pipe.time()
        for stream in keys.all_inboxes():
            pipe.xlen(stream)
        for stream in keys.all_inboxes():
            pipe.xrange(stream, count=1)
        pipe.xlen(keys.DEAD_LETTERS)
        pipe.hvals(keys.FEEDBACK)
        pipe.hgetall(keys.COUNTERS)
        (seconds, microseconds), *found, dead_letters, ratings, counters = await pipe.execute()
    waiting, oldest = found[: keys.PARTITIONS], found[keys.PARTITIONS :]
    loads = [Load(partition, number) for partition, number in enumerate(waiting) if number]
    working = await survey(redis)
    platforms, is_estimated = await _platforms(client, loads)
    return Status(
        backlog=sum(waiting),
        platforms=platforms,
        is_estimated=is_estimated,
        busiest=tuple(sorted(loads, key=lambda load: (-load.waiting, load.partition))[:_BUSIEST]),
        oldest_waiting_seconds=_oldest(oldest, seconds + microseconds / 1e6),
        in_flight=sum(working.in_hand.values()),
        workers=_workers(working),
        unattended=sum(working.owner(load.partition) is None for load in loads),
        dead_letters=dead_letters,
        ratings=_tally(ratings),
        connections=tuple(await connections(redis)),
        counters=dict.fromkeys(_COUNTERS, 0)
        | {name.decode(): int(number) for name, number in sorted(counters.items())},
    )


def _oldest(first_entries: Sequence[Sequence[tuple[bytes, Any]]], now: float) -> float:
    """How long the oldest entry has been there, in seconds: an entry's id says in milliseconds when it came,
    by Redis' clock.
    """
    came = [int(entries[0][0].partition(b"-")[0]) / 1000 for entries in first_entries if entries]
    return max(0.0, round(now - min(came), 3)) if came else 0.0


def _tally(records: Sequence[bytes]) -> Tally:
    return Tally(len(records), sum(json.loads(record)["helpful"] for record in records))


def _workers(working: Survey) -> tuple[WorkerState, ...]:
    partitions = Counter(working.owner(partition) for partition in working.leases)
    return tuple(
        WorkerState(worker_id, partitions[worker_id], in_hand)
        for worker_id, in_hand in sorted(working.in_hand.items())
    )


async def _platforms(client: Any, loads: Sequence[Load]) -> tuple[dict[str, int], bool]:
    """The backlog by platform, and whether that was estimated from the ends of each partition."""
    is_estimated = sum(load.waiting for load in loads) > _EXACT
    async with client.pipeline(transaction=False) as pipe:
        for load in loads:
            is_whole = not is_estimated or load.waiting <= _SAMPLE
            ends = (load.waiting, 0) if is_whole else (_SAMPLE // 2, _SAMPLE // 2)
            pipe.eval(_COUNT_PLATFORMS, 1, keys.inbox(load.partition), *ends)
        answers = await pipe.execute() if loads else []
    numbers: Counter[str] = Counter()
    for load, flat in zip(loads, answers, strict=True):
        found = {name.decode(): number for name, number in zip(flat[::2], flat[1::2], strict=True)}
        scale = max(1.0, load.waiting / _SAMPLE) if is_estimated else 1.0
        for name, number in found.items():
            numbers[name] += round(number * scale)
    return dict(sorted(numbers.items())), is_estimated


def prometheus(status: Status) -> str:
    """The status as Prometheus reads it (text exposition format 0.0.4)."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(status))
    return generate_latest(registry).decode()


class _Snapshot(Collector):
    """One status as a collector."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status
        for name, meaning, value in (
            ("backlog", "Messages that are not finished", status.backlog),
            ("oldest_waiting_seconds", "Since the oldest of them came", status.oldest_waiting_seconds),
            ("in_flight", "Messages that workers have taken", status.in_flight),
            ("workers", "Workers that live", len(status.workers)),
            ("unattended_partitions", "With messages, but without a living worker", status.unattended),
            ("dead_letters", "Messages that were given up", status.dead_letters),
        ):
            yield GaugeMetricFamily(f"frontdesk_{name}", meaning, value=value)
        ratings = {"yes": status.ratings.helpful, "no": status.ratings.rated - status.ratings.helpful}
        yield _labelled("ratings", "Answers that people rated", "helpful", ratings)
        yield _labelled("platform_backlog", "Messages that are not finished", "platform", status.platforms)
        connected = {found.platform: int(found.state == "connected") for found in status.connections}
        yield _labelled("platform_connected", "1 while the connection stands", "platform", connected)
        for name, number in status.counters.items():
            yield CounterMetricFamily(f"frontdesk_{name}", f"Messages: {name}", value=number)


def _labelled(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"frontdesk_{name}", meaning, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
