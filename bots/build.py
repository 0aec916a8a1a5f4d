"""Puts the chat side together: from settings to objects, for every process alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from bots import keys
from bots.adapter import Sender
from bots.dead_letters import DeadLetters
from bots.desk import Desk
from bots.envelope import Envelope, load_envelope
from bots.errors import PlatformBusy
from bots.files import Files
from bots.history import History
from bots.inbox import Inbox
from bots.intake import Intake
from bots.jobs import Jobs
from bots.lease import Lease
from bots.opener import Opener
from bots.privacy import Privacy
from bots.redaction import Redaction
from bots.redis_server import clients
from bots.registry import Registry
from bots.relay import Relay, RelaySender
from bots.settings import Settings, secret
from bots.summaries import Summaries
from bots.turns import Turns
from bots.vault import Vault
from bots.worker import Worker
from engine.client import EngineClient
from engine.errors import EngineError
from engine.log import logger
from engine.types import ChatRequest, Engine, Piece

if TYPE_CHECKING:
    from bots.platforms.discord import DiscordSender
    from bots.platforms.slack import SlackSender

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
    lease: Lease
    privacy: Privacy


@asynccontextmanager
async def open_store(settings: Settings, url: str) -> AsyncIterator[Store]:
    """Connect to the Redis at `url`; the connections are closed afterwards."""
    redis, blocking = clients(url)
    envelope, days = load_envelope(settings), settings.retention_days
    vault = Vault(redis, envelope, days)
    redaction, files = Redaction(vault), Files(redis, envelope, days)
    inbox = Inbox(redis, blocking, envelope, days)
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
            intake=Intake(inbox, redaction, files),
            files=files,
            opener=Opener(files, redaction),
            lease=Lease(redis, keys.WORKER_LEASE),
            privacy=Privacy(history, summaries, vault, files, DeadLetters(redis, envelope, days)),
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
async def open_senders(settings: Settings, relay: Relay) -> AsyncIterator[dict[str, Sender]]:
    """A sender for each platform that is configured. Raises `WrongToken`."""
    own = RelaySender(relay)
    senders: dict[str, Sender] = {"web": own, "terminal": own}
    async with AsyncExitStack() as stack:
        if token := secret(settings.discord_token):
            from bots.platforms import discord  # a second to import, for those who use it

            discord.redirect(settings.discord_api_url, settings.discord_gateway_url)
            senders["discord"] = to_discord = discord.DiscordSender(token)
            stack.push_async_callback(to_discord.close)
            await _open(to_discord)
        if token := secret(settings.slack_bot_token):
            from bots.platforms.slack import SlackSender

            senders["slack"] = to_slack = SlackSender(token, settings.slack_api_url)
            await _open(to_slack)
        yield senders


async def _open(sender: DiscordSender | SlackSender) -> None:
    """Log in now, so that a wrong token is told at once; a platform that is down is tried again later."""
    try:
        await sender.open()
    except PlatformBusy as error:
        log.warning("the platform is tried again with the first answer", reason=str(error))


def build_worker(
    store: Store,
    engine: Engine,
    registry: Registry,
    senders: Mapping[str, Sender],
    *,
    lease: Lease | None = None,
    with_jobs: bool = True,
    shows_basis: bool = False,
) -> Worker:
    """A worker on this store."""
    jobs = Jobs(store.redis, store.inbox.put, registry, store.privacy) if with_jobs else None
    return Worker(
        inbox=store.inbox,
        lease=lease or store.lease,
        turns=store.turns,
        vault=store.vault,
        history=store.history,
        desk=Desk(engine, store.history, store.summaries, store.privacy, registry, shows_basis=shows_basis),
        jobs=jobs,
        senders=senders,
        opener=store.opener,
    )


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
    lease = Lease(store.redis, keys.WORKER_LEASE, is_guest=True)
    worker = build_worker(
        store,
        engine,
        load_plugins(settings),
        senders,
        lease=lease,
        with_jobs=False,
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
