"""Puts the chat side together: from settings to objects, for every process alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from bots import keys
from bots.adapter import Sender
from bots.commands import Registry
from bots.desk import Desk
from bots.envelope import Envelope, load_envelope
from bots.history import History
from bots.inbox import Inbox
from bots.intake import Intake
from bots.jobs import Jobs
from bots.lease import Lease
from bots.redis_server import clients
from bots.relay import Relay, RelaySender
from bots.settings import Settings, secret
from bots.turns import Turns
from bots.vault import Vault
from bots.worker import Worker
from engine.client import EngineClient
from engine.types import Engine


@dataclass(frozen=True, slots=True)
class Store:
    """Everything that lives in Redis, on one pair of connections."""

    redis: Redis
    envelope: Envelope
    inbox: Inbox
    history: History
    vault: Vault
    turns: Turns
    relay: Relay
    intake: Intake
    lease: Lease


@asynccontextmanager
async def open_store(settings: Settings, url: str) -> AsyncIterator[Store]:
    """Connect to the Redis at `url`; the connections are closed afterwards."""
    redis, blocking = clients(url)
    envelope, days = load_envelope(settings), settings.retention_days
    vault = Vault(redis, envelope, days)
    inbox = Inbox(redis, blocking, envelope, days)
    try:
        yield Store(
            redis=redis,
            envelope=envelope,
            inbox=inbox,
            history=History(redis, envelope, days),
            vault=vault,
            turns=Turns(redis, envelope),
            relay=Relay(redis, blocking, envelope),
            intake=Intake(inbox, vault),
            lease=Lease(redis, keys.WORKER_LEASE),
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
            await to_discord.open()
        if token := secret(settings.slack_bot_token):
            from bots.platforms.slack import SlackSender

            senders["slack"] = to_slack = SlackSender(token, settings.slack_api_url)
            await to_slack.open()
        yield senders


def build_worker(
    store: Store, engine: Engine, registry: Registry, senders: Mapping[str, Sender], *, with_jobs: bool = True
) -> Worker:
    """A worker on this store."""
    jobs = Jobs(store.redis, store.inbox.put, registry, store.history) if with_jobs else None
    return Worker(
        inbox=store.inbox,
        lease=store.lease,
        turns=store.turns,
        vault=store.vault,
        history=store.history,
        desk=Desk(engine, store.history, store.vault, registry),
        jobs=jobs,
        senders=senders,
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


@asynccontextmanager
async def answering(settings: Settings, store: Store) -> AsyncIterator[None]:
    """See to it that somebody answers: the running worker, else one in this process meanwhile."""
    if await store.lease.is_held():
        yield
        return
    sender = RelaySender(store.relay)
    senders: dict[str, Sender] = {"web": sender, "terminal": sender}
    async with open_engine(settings, store.redis) as engine:
        worker = build_worker(store, engine, load_plugins(settings), senders, with_jobs=False)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop))
            try:
                yield
            finally:
                stop.set()
