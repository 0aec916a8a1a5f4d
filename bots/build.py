"""Puts the chat side together: from settings to objects, for every process alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from bots import platforms
from bots.adapter import Sender
from bots.audit import Audit
from bots.dead_letters import DeadLetters
from bots.desk import Desk
from bots.envelope import Envelope, load_envelope
from bots.feedback import Feedback
from bots.files import Files
from bots.handover import HandOver
from bots.history import History
from bots.inbox import Inbox
from bots.intake import Intake
from bots.jobs import Jobs
from bots.known_links import KnownLinks
from bots.limits import Limits
from bots.opener import Opener
from bots.partitions import Partitions
from bots.privacy import Privacy
from bots.redaction import Redaction
from bots.redis_server import clients
from bots.registry import Registry
from bots.relay import Relay, RelaySender
from bots.settings import Settings, secret
from bots.summaries import Summaries
from bots.turn import ENGINE_PATIENCE, Stores, TurnTaker
from bots.turns import Turns
from bots.vault import Vault
from bots.worker import Worker
from engine.client import EngineClient
from engine.errors import EngineError
from engine.log import logger
from engine.types import ChatRequest, Engine, Piece

log = logger("bots.build")


@dataclass(frozen=True, slots=True)
class Store:
    """Everything that lives in Redis, on one pair of connections."""

    redis: Redis
    envelope: Envelope
    inbox: Inbox
    history: History
    summaries: Summaries
    vault: Vault
    turns: Turns
    relay: Relay
    intake: Intake
    files: Files
    opener: Opener
    privacy: Privacy
    feedback: Feedback
    audit: Audit
    hand_over: HandOver
    known_links: KnownLinks


@asynccontextmanager
async def open_store(settings: Settings, url: str) -> AsyncIterator[Store]:
    """Connect to the Redis at `url`; the connections are closed afterwards."""
    redis, blocking = clients(url)
    envelope, days = load_envelope(settings), settings.retention_days
    vault = Vault(redis, envelope, days)
    redaction, files = Redaction(vault), Files(redis, envelope, days)
    audit = Audit(redis, days)
    feedback = Feedback(redis, envelope, days)
    inbox = Inbox(redis, blocking, envelope, days, Limits(settings))
    history, summaries = History(redis, envelope, days), Summaries(redis, envelope, days)
    try:
        yield Store(
            redis=redis,
            envelope=envelope,
            inbox=inbox,
            history=history,
            summaries=summaries,
            vault=vault,
            turns=Turns(redis, envelope),
            relay=Relay(redis, blocking, envelope),
            intake=Intake(inbox, redaction, files, feedback),
            files=files,
            opener=Opener(files, redaction),
            privacy=Privacy(
                history, summaries, vault, files, DeadLetters(redis, envelope, days), feedback, audit
            ),
            feedback=feedback,
            audit=audit,
            hand_over=HandOver(redis, inbox, history, settings.staff_channel),
            known_links=KnownLinks(redis, settings.allowed_hosts),
        )
    finally:
        await redis.aclose()
        await blocking.aclose()


def load_plugins(settings: Settings) -> Registry:
    """The commands that come with frontdesk, and the team's own; a later one replaces an earlier."""
    registry = Registry()
    # By its path: the name would also fit a folder called `plugins` in the working directory.
    shipped = Path(__file__).resolve().parents[1] / "plugins"
    registry.load([str(shipped), *settings.plugin_sources()])
    return registry


@asynccontextmanager
async def open_senders(settings: Settings, store: Store) -> AsyncIterator[dict[str, Sender]]:
    """A sender for each platform that is configured. Raises `WrongToken`."""
    own = RelaySender(store.relay)
    senders: dict[str, Sender] = {"web": own, "terminal": own}
    async with AsyncExitStack() as stack:
        for name in settings.platforms:
            senders[name] = sender = await platforms.load(name).open_sender(settings, store)
            stack.push_async_callback(sender.close)
        yield senders


def build_worker(
    store: Store,
    engine: Engine,
    registry: Registry,
    senders: Mapping[str, Sender],
    *,
    is_guest: bool = False,
    shows_basis: bool = False,
    retry_seconds: float = 1.0,
    engine_patience: float = ENGINE_PATIENCE,
) -> Worker:
    """A worker on this store. A guest answers only while nobody else does, and runs no jobs."""
    partitions = Partitions(store.redis, is_guest=is_guest)
    stores = Stores(
        inbox=store.inbox,
        turns=store.turns,
        vault=store.vault,
        history=store.history,
        opener=store.opener,
        audit=store.audit,
        hand_over=store.hand_over,
        known_links=store.known_links,
    )
    desk = Desk(engine, store.history, store.summaries, store.privacy, registry, shows_basis=shows_basis)
    turn_taker = TurnTaker(
        stores, partitions, desk, senders, retry_seconds=retry_seconds, engine_patience=engine_patience
    )
    jobs = None if is_guest else Jobs(store.redis, store.inbox.put, registry, store.privacy)
    return Worker(store.inbox, partitions, turn_taker, jobs)


@asynccontextmanager
async def open_engine(settings: Settings, redis: Redis) -> AsyncIterator[Engine]:
    """The running engine when one answers, else the same engine in this process."""
    client = EngineClient(settings.engine_address, secret(settings.engine_key))
    try:
        if settings.engine_url or await client.ready():
            yield client
            return
        from engine.build import build_service  # torch, only where the engine really runs

        service = await build_service(settings, redis)
        try:
            yield service
        finally:
            await service.generator.close()
    finally:
        await client.close()


class LazyEngine:
    """An engine that is opened when it is needed: loading a model in vain takes seconds."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings, self._redis = settings, redis
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._engine: Engine | None = None
        self._failure: asyncio.Future[EngineError] = asyncio.get_running_loop().create_future()

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """As `Engine.chat`."""
        engine = await self._open()
        async with aclosing(engine.chat(request)) as pieces:
            async for piece in pieces:
                yield piece

    async def watch(self) -> None:
        """Wait for ever. Raises `EngineError` when the engine cannot be opened: the worker would try on and
        on, but the person who waits can mend it.
        """
        raise await self._failure

    async def _open(self) -> Engine:
        async with self._lock:
            if self._engine is None:
                opening = open_engine(self._settings, self._redis)
                try:
                    self._engine = await self._stack.enter_async_context(opening)
                except EngineError as error:
                    if not self._failure.done():
                        self._failure.set_result(error)
                    raise
            return self._engine

    async def close(self) -> None:
        """Close the engine, if there is one."""
        await self._stack.aclose()


@asynccontextmanager
async def answering(settings: Settings, store: Store) -> AsyncIterator[None]:
    """See to it that somebody answers: a worker in this process stands in while there is no other."""
    sender = RelaySender(store.relay)
    senders: dict[str, Sender] = {"web": sender, "terminal": sender}
    engine = LazyEngine(settings, store.redis)
    worker = build_worker(
        store,
        engine,
        load_plugins(settings),
        senders,
        is_guest=True,
        shows_basis=settings.show_basis,
    )
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop))
            watching = group.create_task(engine.watch())
            try:
                yield
            finally:
                watching.cancel()
                stop.set()
    finally:
        await engine.close()
