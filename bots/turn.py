"""One turn: a message in hand is answered and delivered, tried again for a while, and in the end given up,
but never silently.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from redis.exceptions import RedisError

from bots.adapter import Sender
from bots.audit import Audit
from bots.delivery import Delivery
from bots.desk import Desk
from bots.errors import LeaseLost, PlatformBusy, PlatformRefused
from bots.handover import HandOver
from bots.history import History
from bots.in_hand import Work
from bots.inbox import Inbox
from bots.known_links import KnownLinks
from bots.message import Message, Provisional, Reply
from bots.opener import Opener
from bots.partitions import Partitions
from bots.tasks import beside, end
from bots.turns import TurnRecord, Turns, TurnState
from bots.vault import Vault
from engine.errors import EngineError
from engine.language.phrases import say
from engine.log import logger
from engine.types import Progress

MOST_ATTEMPTS = 5
MOST_AT_ONCE = 64
# Attempts that ended with their worker, from which on a message may be the reason.
_SUSPICIOUS_AFTER = 2
ENGINE_PATIENCE = 60.0
"""Seconds for which an engine may be away before the customer is told so and the message given up."""
_TICK = 0.05
# What shows that an answer is coming costs a request: quick answers do without.
_TYPING_AFTER, _TYPING_SECONDS = 0.3, 8
# How long a platform may stay busy before that counts as failed attempts of the message. Seconds.
_PLATFORM_PATIENCE = 3600.0
_LONGEST_PAUSE = 15.0
# A customer who waits so long for an engine that is away hears of it.
_TELL_AFTER = 8.0

log = logger("bots.turn")


@dataclass(frozen=True, slots=True)
class Stores:
    """What a turn reads and writes."""

    inbox: Inbox
    turns: Turns
    vault: Vault
    history: History
    opener: Opener
    audit: Audit
    hand_over: HandOver
    known_links: KnownLinks


class TurnTaker:
    """Takes turns, at most `MOST_AT_ONCE` at a time."""

    def __init__(
        self,
        stores: Stores,
        partitions: Partitions,
        desk: Desk,
        senders: Mapping[str, Sender],
        *,
        retry_seconds: float = 1.0,
        engine_patience: float = ENGINE_PATIENCE,
    ) -> None:
        self._stores, self._partitions, self._desk, self._senders = stores, partitions, desk, senders
        self._retry_seconds, self._engine_patience = retry_seconds, engine_patience
        self._room, self._alone = asyncio.Semaphore(MOST_AT_ONCE), asyncio.Semaphore(1)

    async def take(self, work: Work) -> None:
        """See a message through to its end. Raises `LeaseLost` and `RedisError`: then nothing is finished.

        A cancellation, because something happened to the question, leaves all as it was.
        """
        sender = self._senders.get(work.message.conversation.platform)
        if sender is None:
            platform = work.message.conversation.platform
            log.warning("no sender for this platform here; left until the partition moves", platform=platform)
            return
        places = (self._room, self._alone)
        turn = _Turn(self._stores, self._partitions, self._desk, sender, work, places)
        await turn.run(self._retry_seconds, self._engine_patience)


class _Turn:
    """One message's turn on its platform."""

    def __init__(
        self,
        stores: Stores,
        partitions: Partitions,
        desk: Desk,
        sender: Sender,
        work: Work,
        places: tuple[asyncio.Semaphore, asyncio.Semaphore],
    ) -> None:
        self._stores, self._partitions, self._desk = stores, partitions, desk
        self._sender, self._work = sender, work
        self._room, self._alone = places
        self._message, self._partition = work.message, work.entry.partition
        self._token = work.token = self._partitions.token(self._partition)
        self._record: TurnRecord = stores.turns.record(self._message, self._partition, self._token)
        self._state = TurnState(0)
        self._delivery: Delivery | None = None
        self._began = time.monotonic()
        self._trouble_since: float | None = None
        self._is_told = False

    async def run(self, retry_seconds: float, engine_patience: float) -> None:
        tries = 0
        while True:
            tries += 1
            pause = min(retry_seconds * 2**tries, _LONGEST_PAUSE)
            try:
                await self._attempt()
                return
            except LeaseLost:
                await self._note_loss()
                with contextlib.suppress(RedisError):
                    await self._record.forgive()
                raise
            except RedisError:
                raise
            except asyncio.CancelledError:
                self._note_unsure()
                with contextlib.suppress(RedisError):
                    await self._record.forgive()
                raise
            except PlatformRefused as error:
                log.error("the platform refuses the reply; message given up", reason=str(error))
                await self._bury(str(error))
                return
            except PlatformBusy as error:
                self._note_unsure()
                self._trouble_since = None
                if self._waited < _PLATFORM_PATIENCE:
                    await self._record.forgive()
                await asyncio.sleep(error.retry_after)
            except EngineError as error:
                if await self._is_out_of_patience(error, engine_patience):
                    return
                await asyncio.sleep(pause)
            except Exception:  # a fault of ours must not take the other conversations down
                log.exception("a message could not be answered; trying again")
                await asyncio.sleep(pause)

    @property
    def _waited(self) -> float:
        return time.monotonic() - self._began

    async def _confirm(self) -> None:
        await self._partitions.confirm(self._partition, self._token)

    def _new_delivery(self) -> Delivery:
        self._delivery = Delivery(
            self._sender,
            self._stores.vault,
            self._stores.known_links,
            self._record,
            self._message,
            self._state,
            confirm=self._confirm,
        )
        return self._delivery

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of few places in which answers are made. The attempt counts from here on: one that only waits
        must not be blamed for what others do to their worker.

        What was begun twice in vain is made while no other such message is: what ends the worker then is it.
        """
        async with self._room:
            await self._begin()
            if self._state.attempts <= _SUSPICIOUS_AFTER:
                yield
                return
            await self._record.forgive()
        async with self._alone:
            await self._begin()
            yield

    async def _begin(self) -> None:
        self._work.begun += 1
        self._state = await self._record.begin()

    async def _attempt(self) -> None:
        """One attempt: the answer is made in a place, and delivered outside of it, so that nobody waits for
        a platform that takes its time with others.
        """
        async with self._place():
            delivery = self._new_delivery()
            await delivery.begin()
            is_wanted = self._work.verdict != "delete"
            may_try = self._state.attempts <= MOST_ATTEMPTS
            reply = await self._reply(delivery) if is_wanted and may_try else None
        if not is_wanted:
            await delivery.take_away(self._unsure)
            await self._finish(Reply("", decision="stopped"))
        elif reply is None:
            await self._give_up("too many attempts")
        else:
            await self._deliver(delivery, reply)

    @property
    def _unsure(self) -> set[int]:
        """Parts that may have been posted; after a crash nobody knows about the first."""
        is_after_crash = self._state.tries > self._work.begun and not self._state.refs
        return {*self._work.unsure, *([0] if is_after_crash else [])}

    async def _deliver(self, delivery: Delivery, reply: Reply) -> None:
        if reply.text:
            await delivery.finish(reply)
        if reply.calls_staff:
            await self._stores.hand_over.call(self._message, self._sender.link_to(self._message))
        await self._finish(reply)
        await self._remember(reply)

    async def _reply(self, delivery: Delivery) -> Reply:
        """What is stored, as long as it answers the question as it reads now, or a new one."""
        self._message = await self._stores.opener.named(self._message, self._sender)
        if self._state.reply is not None and self._state.edit == self._work.edit_id:
            return self._state.reply
        if self._work.verdict == "stop":
            reply = await self._stopped()
        elif self._message.over is not None:
            reply = await self._said(f"over_{self._message.over}")
        elif await self._stores.inbox.exceeds_tokens(self._message):
            reply = await self._said("over_tokens")
        elif await self._stores.hand_over.is_with_people(self._message):
            reply = Reply("", decision="command")
        else:
            reply = await self._generate(delivery)
        await self._record.store_reply(reply, self._work.edit_id)
        return reply

    async def _finish(self, reply: Reply) -> None:
        turns = self._stores.history.entries(self._message, reply) if reply.is_conversation else []
        if self._work.is_interrupted:  # too late for a cancellation to arrive by itself
            raise asyncio.CancelledError
        await self._stores.inbox.finish(self._work.finish(), self._token, turns, tokens=reply.tokens)

    async def _remember(self, reply: Reply) -> None:
        """See to the conversation's summary, before its next message, where the model did not see it all."""
        if not reply.window.turns_left_out:
            return
        try:
            async with self._room:
                await self._desk.remember(self._message)
        except (EngineError, RedisError) as error:
            log.warning("the conversation's summary stays as it is until the next answer", reason=str(error))
        except Exception:  # the answer is out and finished: nothing here may have it made again
            log.exception("the conversation's summary could not be made; it stays as it is")

    async def _generate(self, delivery: Delivery) -> Reply:
        reply, self._work.said = None, ""
        async with beside(_keep_typing(self._sender, self._message)):
            has_earlier = self._state.has_files
            opened = await self._stores.opener.open(self._message, self._sender, has_earlier=has_earlier)
            answer = self._desk.answer(opened)
            async with aclosing(_ticking(answer, lambda: delivery.is_holding_back)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Reply):
                        reply = piece
                    elif isinstance(piece, Provisional):
                        await delivery.progress(piece)
                    else:
                        self._work.said += piece
                        await delivery.show(self._work.said)
        assert reply is not None
        # A job may have nothing to say; who asked must hear something.
        is_asked = not (self._message.job or self._message.notice)
        return await self._said("sorry") if is_asked and not reply.text.strip() else reply

    async def _stopped(self) -> Reply:
        """What was said until the customer had enough."""
        language = await self._desk.language(self._message)
        note, said = say("stopped", language), self._work.said.rstrip()
        footer = note if said else ""
        return Reply(said or note, decision="stopped", language=language, footer=footer)

    async def _said(self, key: str) -> Reply:
        language = await self._desk.language(self._message)
        return Reply(say(key, language), decision="error", language=language, is_ours=True)

    async def _is_out_of_patience(self, error: EngineError, patience: float) -> bool:
        """Whether the engine was away for too long: then the message is given up."""
        now = time.monotonic()
        self._trouble_since = self._trouble_since or now
        log.warning("the engine cannot answer now", reason=str(error))
        if now - self._trouble_since > patience:
            await self._give_up(f"the engine cannot answer: {error}")
            return True
        await self._record.forgive()
        await self._tell_of_trouble()
        return False

    async def _tell_of_trouble(self) -> None:
        """Somebody who waits for long hears why; the answer will stand in the same place."""
        is_unasked = self._message.job or self._message.notice
        if self._is_told or is_unasked or self._waited < _TELL_AFTER or self._delivery is None:
            return
        self._is_told = True
        try:
            language = await self._desk.language(self._message)
            await self._delivery.progress(Provisional(say("still_trying", language), Progress(0, 0)))
        except (LeaseLost, RedisError):
            raise
        except Exception as error:  # it is no more than a courtesy
            log.warning("somebody who waits could not be told why", reason=str(error))

    async def _give_up(self, reason: str) -> None:
        """Say so, or what is stored, which is an answer all the same; and keep the message."""
        stored = self._state.reply
        is_shown = await self._insist_on(stored or await self._said("sorry"))
        if stored is not None and is_shown:
            await self._finish(stored)
        else:
            log.error("message given up; it is in the dead letters", reason=reason)
            await self._bury(reason)

    async def _insist_on(self, reply: Reply) -> bool:
        """Show a reply, if need be when the platform is there again; whether that worked."""
        while True:
            delivery = self._new_delivery()
            try:
                await delivery.begin()
                await delivery.finish(reply)
                return True
            except (RedisError, LeaseLost):
                raise
            except PlatformBusy as error:
                if self._waited > _PLATFORM_PATIENCE:
                    log.error("the author could not be told: the platform is away", reason=str(error))
                    return False
                await asyncio.sleep(error.retry_after)
            except Exception as error:  # what failed five times may well fail here: it must still end
                log.error("the author could not be told", reason=str(error))
                return False

    async def _bury(self, reason: str) -> None:
        await self._stores.inbox.bury(self._work.finish(), self._token, reason, self._state.attempts)

    def _note_unsure(self) -> None:
        """What is being posted at this moment may be out, though we have no id of it."""
        if self._delivery is not None and self._delivery.posting is not None:
            self._work.unsure.add(self._delivery.posting)

    async def _note_loss(self) -> None:
        """Another worker has the turn; where we posted something, it may be there twice."""
        if self._delivery is None or not self._delivery.posted:
            return
        name, platform = self._message.id, self._message.conversation.platform
        log.error("a lease was lost after something was posted; it may be there twice", message=name)
        with contextlib.suppress(RedisError):
            await self._stores.audit.note("posted_without_lease", message=name, platform=platform)


async def _ticking(
    answer: AsyncGenerator[str | Provisional | Reply, None], is_waiting: Callable[[], bool]
) -> AsyncGenerator[str | Provisional | Reply, None]:
    """The same pieces, and now and then an empty one as long as somebody waits for a time to pass."""
    async with aclosing(answer):
        while True:
            coming = asyncio.ensure_future(anext(answer, None))
            try:
                while is_waiting() and not (await asyncio.wait({coming}, timeout=_TICK))[0]:
                    yield ""
                piece = await coming
            finally:
                await end(coming)
            if piece is None:
                return
            yield piece


async def _keep_typing(sender: Sender, message: Message) -> None:
    """Show that an answer is coming, as often as platforms want to hear it."""
    await asyncio.sleep(_TYPING_AFTER)
    while True:
        with contextlib.suppress(PlatformBusy, PlatformRefused):
            await sender.typing(message)
        await asyncio.sleep(_TYPING_SECONDS)
