"""The worker: takes messages of its partitions, has them answered, delivers, finishes. Order is kept within
a conversation; conversations do not wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from bots.errors import LeaseLost
from bots.in_hand import InHand, Work
from bots.inbox import Entry, Inbox
from bots.jobs import Jobs
from bots.message import Change, Message
from bots.partitions import LOOK_SECONDS, Partitions
from bots.tasks import end
from bots.turn import TurnTaker
from engine.language.languages import preload
from engine.log import logger

# Messages of one partition that are held in memory; those beyond wait in Redis.
_MOST_OF_A_PARTITION = 1200
_TAKE_COUNT = 64
_TAKE_MS = 150
_DRAIN_SECONDS = 20.0
_ADOPT_SECONDS = 2.0
# After Redis was away, before a partition is read again.
_PAUSE_SECONDS = 0.2

log = logger("bots.worker")


@dataclass(eq=False, slots=True)
class Cursor:
    """How far a partition is read, since it is ours under this token: the id of the last entry."""

    token: str
    last: str = "0"


class Worker:
    """Everything between the inbox and the platforms. Several work side by side, each on its partitions."""

    def __init__(
        self, inbox: Inbox, partitions: Partitions, turn_taker: TurnTaker, jobs: Jobs | None = None
    ) -> None:
        """`jobs` run where the first partition is."""
        self._inbox, self._partitions = inbox, partitions
        self._turn_taker, self._jobs = turn_taker, jobs
        self._in_hand = InHand()
        # By partition, how far it is read. One that starts over is not, until nothing of it goes on.
        self._cursors: dict[int, Cursor] = {}
        self._starting_over: set[int] = set()
        self._runners: dict[str, asyncio.Task[None]] = {}
        self._adopted_at = float("-inf")
        self._is_leaving = False

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is begun."""
        self._is_leaving = False
        await asyncio.to_thread(preload)  # nobody's question shall wait for it
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._keep_share(group)), group.create_task(self._read(group))]
                try:
                    await stop.wait()
                    await self._drain()
                finally:
                    for task in [*tasks, *self._runners.values()]:
                        await end(task)
        finally:  # also when we are cancelled: nobody should wait for leases to run out
            if self._jobs is not None:
                self._jobs.stop()
            with contextlib.suppress(RedisError):
                await self._partitions.leave()

    async def _keep_share(self, group: asyncio.TaskGroup) -> None:
        """Hold on to our partitions, and see which come and go."""
        while True:
            try:
                await self._partitions.look_after(self._in_hand.by_partition(), takes=not self._is_leaving)
                self._adjust(group)
                await self._see_to_first()
            except RedisError as error:
                log.warning("Redis cannot be reached; trying again", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    def _adjust(self, group: asyncio.TaskGroup) -> None:
        owned = self._partitions.tokens.keys()
        for partition, cursor in list(self._cursors.items()):
            if self._partitions.tokens.get(partition) != cursor.token:
                self._start_over(group, partition)
        for partition in owned - self._cursors.keys() - self._starting_over:
            self._cursors[partition] = Cursor(self._partitions.tokens[partition])

    async def _see_to_first(self) -> None:
        """What one worker does for all, whoever has the first partition: jobs, and an old version's inbox."""
        is_ours = 0 in self._partitions.tokens
        if self._jobs is not None:
            (self._jobs.start if is_ours and not self._is_leaving else self._jobs.stop)()
        if is_ours and time.monotonic() - self._adopted_at > _ADOPT_SECONDS:
            self._adopted_at = time.monotonic()
            await self._inbox.adopt()

    async def _read(self, group: asyncio.TaskGroup) -> None:
        while True:
            cursors = {
                partition: cursor
                for partition, cursor in self._cursors.items()
                if self._in_hand.count(partition) < _MOST_OF_A_PARTITION
            }
            if not cursors:
                await asyncio.sleep(LOOK_SECONDS / 2)
                continue
            try:
                after = {partition: cursor.last for partition, cursor in cursors.items()}
                entries = await self._inbox.take(after, _TAKE_COUNT, _TAKE_MS)
            except RedisError as error:
                log.warning("the inbox cannot be read; trying again", reason=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            for entry in entries:
                # What belongs to another meanwhile, or is read from the start again, must not be taken here.
                if self._cursors.get(entry.partition) is cursors[entry.partition]:
                    cursors[entry.partition].last = entry.id
                    await self._accept(group, entry)

    async def _accept(self, group: asyncio.TaskGroup, entry: Entry) -> None:
        """Take a message, unless we are leaving; or what happened to one, as long as any is in hand."""
        if isinstance(entry.content, Message):
            name = None if self._is_leaving else self._in_hand.add(entry)
            if name is not None:
                self._runners[name] = group.create_task(self._answer_all(group, name))
        elif isinstance(entry.content, Change):
            meant = self._in_hand.meant(entry)
            for work in meant:
                work.add(entry)
            if not meant and not self._is_leaving:
                await self._drop([entry])

    async def _drop(self, changes: Sequence[Entry]) -> None:
        """They came too late, or too often."""
        for entry in changes:
            with contextlib.suppress(LeaseLost, RedisError):  # whoever comes next drops it
                await self._inbox.drop(entry, self._partitions.token(entry.partition))

    async def _answer_all(self, group: asyncio.TaskGroup, name: str) -> None:
        """Answer a conversation's messages one after the other."""
        try:
            while (work := self._in_hand.first(name)) is not None and not self._is_leaving:
                try:
                    await self._handle(work)
                except LeaseLost:
                    self._partitions.drop(work.entry.partition, work.token)
                    self._start_over(group, work.entry.partition)
                    return
                except RedisError as error:
                    log.warning("Redis cannot be reached; the message is taken again", reason=str(error))
                    self._start_over(group, work.entry.partition)
                    return
                except Exception:  # a fault of ours must not take the other conversations down
                    log.exception("a message could not be seen to; it is taken again")
                    self._start_over(group, work.entry.partition)
                    return
                self._in_hand.done(name, work)
                await self._drop(work.late)
        finally:
            if self._runners.get(name) is asyncio.current_task():
                del self._runners[name]

    async def _handle(self, work: Work) -> None:
        """See a message through, beginning again whenever something happens to it."""
        while True:
            work.is_interrupted = False
            work.attempt = asyncio.create_task(self._turn_taker.take(work))
            try:
                await asyncio.wait({work.attempt})
            finally:
                await end(work.attempt)
            if not work.attempt.cancelled():
                work.attempt.result()
                return

    def _start_over(self, group: asyncio.TaskGroup, partition: int) -> None:
        """Forget what we have of a partition, and read it from the start once nothing of it is going on."""
        if partition in self._starting_over:
            return
        self._starting_over.add(partition)
        self._cursors.pop(partition, None)
        names = self._in_hand.forget(partition)
        runners = [runner for name in names if (runner := self._runners.get(name)) is not None]
        group.create_task(self._wait_out(partition, runners))

    async def _wait_out(self, partition: int, runners: list[asyncio.Task[None]]) -> None:
        for runner in runners:
            await end(runner)
        await asyncio.sleep(_PAUSE_SECONDS)
        self._starting_over.discard(partition)

    async def _drain(self) -> None:
        """Let answers that are begun finish, and leave the rest to others at once."""
        self._is_leaving = True
        idle = [partition for partition in self._partitions.tokens if not self._in_hand.count(partition)]
        with contextlib.suppress(RedisError):
            await self._partitions.release(idle)
        if running := set(self._runners.values()):
            await asyncio.wait(running, timeout=_DRAIN_SECONDS)
