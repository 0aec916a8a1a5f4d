"""The worker: takes messages under its lease, has them answered, delivers, finishes. Order is kept within
a conversation; conversations do not wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import aclosing

from redis.exceptions import RedisError

from bots.adapter import Sender
from bots.delivery import Delivery
from bots.desk import Desk
from bots.errors import LeaseLost, PlatformBusy, PlatformRefused
from bots.history import History
from bots.inbox import Entry, Inbox
from bots.jobs import Jobs
from bots.lease import Lease
from bots.message import Message, Provisional, Reply
from bots.opener import Opener
from bots.tasks import end
from bots.turns import Turns, TurnState
from bots.vault import Vault
from engine.errors import EngineError
from engine.language.phrases import say
from engine.log import logger

MOST_ATTEMPTS = 5
MOST_AT_ONCE = 64
# Messages held in memory; those beyond wait in Redis.
_MOST_IN_HAND = 512
_TAKE_COUNT = 32
_TAKE_MS = 1000
_TYPING_SECONDS = 8
_DRAIN_SECONDS = 5
# How long a platform may stay busy, and an engine away (it may be loading a large model), before that
# counts as failed attempts of the message. Seconds.
_PLATFORM_PATIENCE = 3600.0
_ENGINE_PATIENCE = 600.0
_LONGEST_PAUSE = 15.0

log = logger("bots.worker")


class Worker:
    """Everything between the inbox and the platforms. One is active; others wait for its lease."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        lease: Lease,
        turns: Turns,
        vault: Vault,
        history: History,
        desk: Desk,
        jobs: Jobs | None,
        senders: Mapping[str, Sender],
        opener: Opener,
        retry_seconds: float = 1.0,
        engine_patience: float = _ENGINE_PATIENCE,
    ) -> None:
        self._inbox, self._lease, self._turns, self._vault = inbox, lease, turns, vault
        self._history, self._desk, self._jobs, self._senders = history, desk, jobs, senders
        self._opener = opener
        self._retry_seconds, self._engine_patience = retry_seconds, engine_patience
        self._tails: dict[str, asyncio.Task[None]] = {}
        self._in_hand: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is in hand; start over when the lease is lost."""
        while not stop.is_set():
            waiting = asyncio.ensure_future(self._lease.acquire())
            await _first(waiting, stop.wait())
            if not waiting.done():
                await end(waiting)
                return
            try:
                await waiting
                await self._work(stop)
            except* LeaseLost:
                log.warning("another worker has taken over; waiting for it to go")
            except* RedisError as errors:
                log.error("Redis cannot be reached; trying again", reason=str(errors.exceptions[0]))
                await _first(asyncio.sleep(2), stop.wait())
            finally:  # also when we are cancelled: nobody should wait for the lease to run out
                with contextlib.suppress(RedisError):
                    await self._lease.release()

    async def _work(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._lease.keep())
            if self._jobs is not None:
                self._jobs.start()
            try:
                await self._inbox.prepare()
                for entry in await self._inbox.leftovers():
                    self._enqueue(group, entry)
                # A cancellation may get lost in redis-py: whoever has lost the lease must not read on.
                while not stop.is_set() and not keeping.done() and not await self._should_step_down():
                    for entry in await self._inbox.take(_TAKE_COUNT, _TAKE_MS):
                        self._enqueue(group, entry)
                    if len(self._in_hand) >= _MOST_IN_HAND:
                        one_done = asyncio.wait(self._in_hand, return_when=asyncio.FIRST_COMPLETED)
                        await _first(one_done, stop.wait())
                await self._drain()
            finally:
                if self._jobs is not None:
                    self._jobs.stop()
                self._tails.clear()
                self._in_hand.clear()
                self._lease.let_go()

    async def _should_step_down(self) -> bool:
        """Whether a worker that is here to stay waits for a guest's lease, and nothing is in hand."""
        return not self._in_hand and await self._lease.is_wanted()

    def _enqueue(self, group: asyncio.TaskGroup, entry: Entry) -> None:
        """Start the entry behind its conversation's last one."""
        name = str(entry.message.conversation)
        task = group.create_task(self._in_turn(entry, self._tails.get(name)))
        self._tails[name] = task
        self._in_hand.add(task)

        def done(finished: asyncio.Task[None]) -> None:
            self._in_hand.discard(finished)
            if self._tails.get(name) is finished:
                del self._tails[name]

        task.add_done_callback(done)

    async def _in_turn(self, entry: Entry, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        await self._handle(entry)

    async def _drain(self) -> None:
        """Let answers in hand finish; what does not is taken up again at the next start."""
        if self._in_hand:
            _, unfinished = await asyncio.wait(set(self._in_hand), timeout=_DRAIN_SECONDS)
            await asyncio.gather(*map(end, unfinished))

    async def _handle(self, entry: Entry) -> None:
        """Answer one message, trying again for a while; give it up in the end, but never silently."""
        message = entry.message
        sender = self._senders.get(message.conversation.platform)
        if sender is None:
            # Left pending: the next worker that can send there takes it up.
            log.warning(
                "no sender for this platform here; left alone", platform=message.conversation.platform
            )
            return
        began, tries = time.monotonic(), 0
        while True:
            tries += 1
            pause = min(self._retry_seconds * 2**tries, _LONGEST_PAUSE)
            state = await self._turns.begin(message)
            if state.attempts > MOST_ATTEMPTS:
                await self._give_up(entry, sender, state)
                return
            try:
                # Held by nobody who waits: neither behind a slow answer nor for a platform that is away.
                async with self._room:
                    reply = await self._answer(message, sender, state)
                turns = self._history.entries(message, reply) if reply.is_conversation else []
                await self._inbox.finish(entry, self._lease.token, turns)
                await self._remember(message, reply)
                return
            except (LeaseLost, RedisError):
                raise
            except PlatformRefused as error:
                log.error("the platform refuses the reply; message given up", reason=str(error))
                await self._inbox.bury(entry, self._lease.token, str(error))
                return
            except PlatformBusy as error:
                if time.monotonic() - began < _PLATFORM_PATIENCE:
                    await self._turns.forgive(message)
                await asyncio.sleep(error.retry_after)
            except EngineError as error:
                log.warning("the engine cannot answer now; trying again", reason=str(error))
                if time.monotonic() - began < self._engine_patience:
                    await self._turns.forgive(message)
                await asyncio.sleep(pause)
            except Exception:  # a fault of ours must not take the other conversations down
                log.exception("a message could not be answered; trying again", attempt=state.attempts)
                await asyncio.sleep(pause)

    async def _answer(self, message: Message, sender: Sender, state: TurnState) -> Reply:
        delivery = Delivery(sender, self._vault, self._turns, message, state)
        await delivery.begin()
        if state.reply is None:
            state.reply = await self._generate(message, sender, delivery)
            await self._turns.store_reply(message, state.reply)
        if state.reply.text:
            await delivery.finish(state.reply)
        return state.reply

    async def _remember(self, message: Message, reply: Reply) -> None:
        """See to the conversation's summary, before its next message, where the model did not see it all."""
        if not reply.window.turns_left_out:
            return
        try:
            async with self._room:
                await self._desk.remember(message)
        except (EngineError, RedisError) as error:
            log.warning("the conversation's summary stays as it is until the next answer", reason=str(error))
        except Exception:  # the answer is out and finished: nothing here may have it made again
            log.exception("the conversation's summary could not be made; it stays as it is")

    async def _generate(self, message: Message, sender: Sender, delivery: Delivery) -> Reply:
        text, reply = "", None
        async with _typing(sender, message):
            opened = await self._opener.open(message, sender.fetch)
            async with aclosing(self._desk.answer(opened)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Reply):
                        reply = piece
                    elif isinstance(piece, Provisional):
                        await delivery.progress(piece)
                    else:
                        text += piece
                        await delivery.show(text)
        assert reply is not None
        return reply

    async def _give_up(self, entry: Entry, sender: Sender, state: TurnState) -> None:
        log.error(
            "message given up after too many attempts; it is in the dead letters", attempts=state.attempts
        )
        delivery = Delivery(sender, self._vault, self._turns, entry.message, state)
        try:
            await delivery.begin()
            await delivery.finish(state.reply or await self._sorry(entry.message))
        except RedisError:
            raise
        except Exception as error:  # what failed five times may well fail here: it must still end
            log.error("the author could not be told", reason=str(error))
        await self._inbox.bury(entry, self._lease.token, "too many attempts")

    async def _sorry(self, message: Message) -> Reply:
        language = await self._desk.language(message)
        return Reply(say("sorry", language), decision="error", language=language)


@contextlib.asynccontextmanager
async def _typing(sender: Sender, message: Message) -> AsyncIterator[None]:
    """Show that an answer is coming, as often as platforms want to hear it."""

    async def keep_typing() -> None:
        while True:
            with contextlib.suppress(PlatformBusy, PlatformRefused):
                await sender.typing(message)
            await asyncio.sleep(_TYPING_SECONDS)

    task = asyncio.create_task(keep_typing())
    try:
        yield
    finally:
        await end(task)


async def _first(*awaitables: Awaitable[object]) -> None:
    """Wait for the first of these; coroutines that were not first are cancelled, futures go on."""
    tasks = {asyncio.ensure_future(awaitable): awaitable for awaitable in awaitables}
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task, given in tasks.items():
        if task is not given:
            task.cancel()
