"""The delivery benchmark: the path without a model, from an event to the reply on a platform.

Redis is a real one of its own that appends every write to disk before it answers. What the platform saw is
what counts, except for processor time and memory, which a worker's process tells of itself.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bots import keys
from bots.bench.delivery_platform import NAME, BenchPlatform
from bots.bench.delivery_worker import bench_settings, working
from bots.build import Store, open_store
from bots.message import Author, ConversationKey, Message
from bots.partitions import LOOK_SECONDS, Partitions, survey
from bots.redis_server import redis_for
from engine.bench.figures import quantile
from engine.bench.row import Row

LATENCY_P50, LATENCY_P99 = "event_to_reply_p50", "event_to_reply_p99"
PROCESSOR, THROUGHPUT = "worker_cpu_per_message", "messages_per_second"
MEMORY, MEMORY_GROWTH = "worker_memory", "worker_memory_growth"
REDIS_BYTES = "redis_growth_per_message"
IDLE_WRITES, IDLE_BYTES, IDLE_PROCESSOR = "idle_writes", "idle_log", "idle_cpu"
WITH_CONVERSATIONS = "with_1000_conversations"
CONVERSATION_BYTES = "redis_per_conversation"
SHARE = "partitions_off_even"

_CONVERSATIONS = 200
_AT_ONCE = 32
_IDLE_SECONDS = 5.0
# Until a worker that has just had work beats as slowly as an idle one.
_CALM_SECONDS = 2.0
_IDLE_CONVERSATIONS = 1000
_REST_LOOKS = 20
_WRITING = ("set", "hset", "hdel", "del", "xadd", "xdel", "expire", "pexpire", "incr", "hincrby")
_QUESTION = "How long do I have to return an item that does not fit?"

Tell = Callable[[str], None]


async def measure(messages: int, tell: Tell, *, latency_messages: int = 300) -> list[Row]:
    """All figures. `messages` go through the worker's process; with 100,000 of them memory is told best."""
    rows: list[Row] = []
    # A socket's path is short: not below the data folder of somebody.
    folder = Path(tempfile.mkdtemp(prefix="frontdesk-bench-"))
    try:
        settings = bench_settings(folder)
        async with (
            redis_for(settings, shared=False) as url,
            open_store(settings, url) as store,
            BenchPlatform().serving() as platform,
        ):
            tell("one process: event to reply")
            async with working(store, platform.url):
                rows += await _latency(store, platform, latency_messages)
            tell(f"a worker's process: {messages} messages")
            async with _WorkerProcess.started(url, folder, platform.url) as worker:
                rows += await _load(store, platform, worker, messages)
                tell("an idle worker")
                rows += await _idle(store, worker)
            tell("four workers share partitions")
            rows.append(await _share(store))
    finally:
        shutil.rmtree(folder)
    return rows


class _WorkerProcess:
    """A worker beside us, which tells its processor time (seconds) and memory (bytes) when asked."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def started(cls, url: str, folder: Path, platform_url: str) -> AsyncIterator[_WorkerProcess]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bots.bench.delivery_worker", url, str(folder), platform_url,
            stdin=pipe, stdout=pipe,
        )  # fmt: skip
        worker = cls(process)
        try:
            await worker.figures()
            yield worker
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()

    async def figures(self) -> dict[str, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"\n")
        found: dict[str, float] = json.loads(await self._process.stdout.readline())
        return found


def _messages(kind: str, count: int) -> Iterator[Message]:
    """Round over the conversations."""
    for number in range(count):
        conversation = ConversationKey(NAME, "team", f"channel-{number % _CONVERSATIONS}")
        yield Message(f"{NAME}:{kind}:{number}", conversation, Author("anna", "Anna"), _QUESTION, False)


async def _latency(store: Store, platform: BenchPlatform, count: int) -> list[Row]:
    """One message after the other, the first ones not counted: they load what is loaded once."""
    warm_up, times = 20, []
    for number, message in enumerate(_messages("latency", count + warm_up)):
        begun = time.monotonic()
        await store.intake.receive(message)
        whole_at = await platform.answered(message.id)
        if number >= warm_up:
            times.append(1000 * (whole_at - begun))
    times.sort()
    return [_row(LATENCY_P50, quantile(times, 0.5), "ms"), _row(LATENCY_P99, quantile(times, 0.99), "ms")]


async def _load(store: Store, platform: BenchPlatform, worker: _WorkerProcess, count: int) -> list[Row]:
    """As fast as they are taken. Memory is compared from a tenth on: until then caches fill."""
    tenth = max(1, count // 10)
    await _send_all(store, platform, "warm", tenth)
    before, redis_before = await worker.figures(), await _redis_bytes(store)
    begun = time.monotonic()
    await _send_all(store, platform, "load", count)
    seconds = max(platform.whole_at.values()) - begun
    after, redis_after = await worker.figures(), await _redis_bytes(store)
    return [
        _row(THROUGHPUT, count / seconds, "messages/s"),
        _row(PROCESSOR, 1000 * (after["cpu"] - before["cpu"]) / count, "ms"),
        _row(MEMORY, after["memory"] / 2**20, "MB"),
        _row(MEMORY_GROWTH, (after["memory"] - before["memory"]) / count, "bytes/message"),
        _row(REDIS_BYTES, (redis_after - redis_before) / count, "bytes/message"),
    ]


async def _send_all(store: Store, platform: BenchPlatform, kind: str, count: int) -> None:
    """Hand messages in side by side, each conversation's in order; wait until the last one is answered."""
    waiting = _messages(kind, count)

    async def hand_in() -> None:
        for message in waiting:
            await store.intake.receive(message)

    await asyncio.gather(*(hand_in() for _ in range(_AT_ONCE)))
    await asyncio.gather(*(platform.answered(message.id) for message in _messages(kind, count)))
    while await store.inbox.backlog():  # what was shown last is finished a little later
        await asyncio.sleep(0.01)


async def _idle(store: Store, worker: _WorkerProcess) -> list[Row]:
    """An idle worker, and the same with a thousand conversations that nobody goes on with."""
    await asyncio.sleep(_CALM_SECONDS)
    alone = await _idle_figures(store, worker)
    redis_before = await _redis_bytes(store)
    for number in range(_IDLE_CONVERSATIONS):
        conversation = ConversationKey(NAME, "team", f"idle-{number}")
        message = Message(f"{NAME}:idle:{number}", conversation, Author("anna"), _QUESTION, False)
        await store.intake.receive(message)
    while await store.inbox.backlog():
        await asyncio.sleep(0.05)
    per_conversation = (await _redis_bytes(store) - redis_before) / _IDLE_CONVERSATIONS
    await asyncio.sleep(_CALM_SECONDS)
    crowded = await _idle_figures(store, worker)
    rows = [_row(metric, value, unit) for metric, value, unit in alone]
    rows += [_row(f"{metric}_{WITH_CONVERSATIONS}", value, unit) for metric, value, unit in crowded]
    return [*rows, _row(CONVERSATION_BYTES, per_conversation, "bytes")]


async def _idle_figures(store: Store, worker: _WorkerProcess) -> list[tuple[str, float, str]]:
    before, writes = await worker.figures(), await _writes(store)
    log = await _log_bytes(store)
    await asyncio.sleep(_IDLE_SECONDS)
    after = await worker.figures()
    return [
        (IDLE_WRITES, (await _writes(store) - writes) / _IDLE_SECONDS, "keys/s"),
        (IDLE_BYTES, (await _log_bytes(store) - log) / _IDLE_SECONDS, "bytes/s"),
        (IDLE_PROCESSOR, 100 * (after["cpu"] - before["cpu"]) / _IDLE_SECONDS, "%"),
    ]


async def _writes(store: Store) -> int:
    """Commands so far that change a key, also those within scripts."""
    stats = await _info(store, "commandstats")
    return sum(found["calls"] for name, found in stats.items() if name.removeprefix("cmdstat_") in _WRITING)


async def _log_bytes(store: Store) -> int:
    return int((await _info(store, "persistence"))["aof_current_size"])


async def _redis_bytes(store: Store) -> int:
    return int((await _info(store, "memory"))["used_memory"])


async def _info(store: Store, section: str) -> dict[str, Any]:
    redis: Any = store.redis
    found: dict[str, Any] = await redis.info(section)
    return found


async def _share(store: Store) -> Row:
    """How far the largest or smallest share of four workers is from even, in percent, once it rests."""
    workers = [Partitions(store.redis) for _ in range(4)]
    shares, rested = [0], 0
    while rested < _REST_LOOKS:
        for worker in workers:
            await worker.look_after({})
        before, shares = shares, [len(worker.tokens) for worker in workers]
        rested = rested + 1 if shares == before else 0
        await asyncio.sleep(LOOK_SECONDS)
    found = await survey(store.redis)
    owners = Counter(found.owner(number) for number in range(keys.PARTITIONS))
    for worker in workers:
        await worker.leave()
    even = keys.PARTITIONS / len(workers)
    return _row(SHARE, 100 * max(abs(owners[worker.id] - even) for worker in workers) / even, "%")


def _row(metric: str, value: float, unit: str) -> Row:
    return Row(metric, value, unit, part="delivery")
