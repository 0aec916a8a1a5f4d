"""A local Discord: enough of REST v10 and of the gateway for an unmodified discord.py client.

Sources: Discord's API documentation (docs.discord.com/developers, named at each piece as `page#part`)
and, for what the client reads and sends, discord.py 2.7.1. Nothing of either is copied.

    async with DiscordServer() as server:
        server.redirect(monkeypatch)                    # discord.py now talks to this server
        ... start a client with server.token ...
        await server.wait_for(lambda s: s.connected)
        question = await server.say(server.channel_id, "Where is my order?", mention_bot=True)
        await server.wait_for(lambda s: len(s.messages[s.channel_id]) == 2)

Ids are int in what a test passes in and in `messages[channel_id]`, and str inside message, channel and
interaction dicts, as in Discord's JSON.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
import re
import secrets
import time
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import yarl
from aiohttp import WSMsgType, web
from discord_people import Json, People, components, now

with warnings.catch_warnings():  # discord.py imports audioop, which Python 3.11 and 3.12 deprecate
    warnings.simplefilter("ignore", DeprecationWarning)
    import discord
    import discord.gateway

EPOCH_MS = 1420070400000  # reference#snowflakes
GUILDS, GUILD_MEMBERS, GUILD_PRESENCES = 1 << 0, 1 << 1, 1 << 8  # events/gateway#list-of-intents
GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 9, 1 << 12, 1 << 15
SUPPRESS_EMBEDS, EPHEMERAL, LOADING = 1 << 2, 1 << 6, 1 << 7  # resources/message#message-flags
ALL_PERMISSIONS = str((1 << 50) - 1)
RESPOND_WITHIN, TOKEN_LIVES, NONCE_LIVES = 3, 15 * 60, 5 * 60  # seconds


class ApiError(Exception):
    """An answer with Discord's error body (reference#error-messages)."""

    def __init__(self, status: int, code: int, message: str, errors: Json | None = None):
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "code": code} | ({"errors": errors} if errors else {})

    @classmethod
    def form(cls, name: str, code: str, message: str) -> ApiError:
        return cls(400, 50035, "Invalid Form Body", {name: {"_errors": [{"code": code, "message": message}]}})


@dataclass
class Call:
    """One REST call as it came in; `status` is what was answered."""

    method: str
    path: str  # below /api/v10
    json: Any
    query: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict, repr=False)
    status: int = 0


@dataclass
class Fault:
    status: int
    headers: dict[str, str]
    times: int
    path: str
    after: bool


@dataclass
class Interaction:
    """What became of an interaction: `callback` is the bot's first answer, `message` the @original one."""

    payload: Json
    created: float
    callback: Json | None = None
    message: Json | None = None
    messages: list[Json] = field(default_factory=list)


def zlib_stream() -> Callable[[bytes], bytes]:
    """events/gateway#zlib-stream: one context per connection, every message ends in a sync flush."""
    context = zlib.compressobj()
    return lambda data: context.compress(data) + context.flush(zlib.Z_SYNC_FLUSH)


def zstd_stream() -> Callable[[bytes], bytes]:
    """events/gateway#zstd-stream. discord.py asks for it where the same import succeeds."""
    import zstandard

    context = zstandard.ZstdCompressor().compressobj()
    return lambda data: context.compress(data) + context.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


@dataclass
class Limit:
    """A rate limit of a route: a bucket for each channel, interaction or application (topics/rate-limits)."""

    path: str
    most: int
    seconds: float
    used: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class Connection:
    """One gateway websocket, with the compression its query string asked for."""

    def __init__(self, ws: web.WebSocketResponse, request: web.Request):
        self.ws, self.transport = ws, request.transport
        makers = {"zlib-stream": zlib_stream, "zstd-stream": zstd_stream}
        kind = request.query.get("compress")
        self.pack = makers[kind]() if kind else None

    async def send(self, op: int, d: Any, s: int | None = None, t: str | None = None) -> None:
        text = json.dumps({"op": op, "d": d, "s": s, "t": t})
        if self.pack:
            await self.ws.send_bytes(self.pack(text.encode()))
        else:
            await self.ws.send_str(text)


@dataclass
class Session:
    """A gateway session outlives its connections: `events` keeps all it was ever due, for RESUME."""

    id: str
    intents: int
    events: list[tuple[str, Json]] = field(default_factory=list)  # the event at index i has sequence i + 1
    sent: int = 0
    connection: Connection | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def flush(self) -> None:
        async with self.lock:
            while (connection := self.connection) and self.sent < len(self.events):
                name, data = self.events[self.sent]
                self.sent += 1
                try:
                    await connection.send(0, data, self.sent, name)
                except ConnectionError:
                    self.connection = None if self.connection is connection else self.connection


class DiscordServer(People):
    """One bot application, one guild with two text channels and a thread, and DMs. See the module text."""

    def __init__(self) -> None:
        self.token = "bot-token." + secrets.token_hex(8)
        self.message_content_enabled = False  # the developer portal's switch
        self.heartbeat_interval = 41250  # milliseconds
        self.clock: Callable[[], float] = time.time  # a test may move it: nonces and interaction tokens age
        first = 1_100_000_000_000_000_000  # discord.py takes only 15 to 20 digits for an id in a text
        self.guild_id, self.channel_id, self.second_channel_id, self.thread_id = range(first, first + 4)
        self.forum_id = first + 5
        self.bot_id, self.user_id = first + 11, first + 12
        self.application_id = self.bot_id
        self.users: dict[int, Json] = {}
        self.add_user(self.bot_id, "frontdesk", bot=True)
        self.add_user(self.user_id, "customer")
        self.channels: dict[int, Json] = {}
        self._add_channel(self.channel_id, 0, name="help", position=0)
        self._add_channel(self.second_channel_id, 0, name="orders", position=1)
        self._add_channel(self.forum_id, 15, name="support", position=2, available_tags=[], topic=None)
        archive = {"archived": False, "auto_archive_duration": 1440, "archive_timestamp": now()}
        thread = {"name": "a thread", "parent_id": str(self.channel_id), "owner_id": str(self.user_id)}
        thread |= {"message_count": 0, "member_count": 2, "thread_metadata": archive}
        self._add_channel(self.thread_id, 11, **thread)
        self.messages: dict[int, list[Json]] = defaultdict(list)
        self.files: dict[str, tuple[str, bytes]] = {}  # attachment path -> content type, bytes
        self.commands: dict[int | None, list[Json]] = {}  # guild id, or None for global
        self.interactions: dict[str, Interaction] = {}  # by token
        self.calls: list[Call] = []
        self.identifies: list[Json] = []  # the payload of every IDENTIFY
        self.resumes: list[Json] = []  # the payload of every RESUME
        self.sessions: dict[str, Session] = {}
        self._connections: set[Connection] = set()
        self._faults: list[Fault] = []
        self._limits: list[Limit] = []
        self.forbidden: set[int] = set()  # channels that the bot has no access to
        self.acknowledges = True  # whether heartbeats are answered
        self._nonces: dict[tuple[str, str], tuple[float, Json]] = {}
        self._last_id = 0

    async def __aenter__(self) -> DiscordServer:
        app = web.Application(client_max_size=25 << 20)
        app.router.add_get("/gw", self._gateway)
        app.router.add_get("/attachments/{tail:.*}", self._attachment)
        channel, hook = "/channels/{channel}", "/webhooks/{application}/{token}"
        application = "/applications/{application}"
        open_routes = [  # the token is in the path, or none is needed
            ("GET", "/gateway", self._get_gateway),
            ("POST", "/interactions/{id}/{token}/callback", self._callback),
            ("POST", hook, self._follow_up),
            ("GET", hook + "/messages/{message}", self._hook_message),
            ("PATCH", hook + "/messages/{message}", self._hook_message),
            ("DELETE", hook + "/messages/{message}", self._hook_message),
        ]
        bot_routes = [
            ("GET", "/users/@me", self._get_me),
            ("GET", "/oauth2/applications/@me", self._get_application),
            ("GET", "/gateway/bot", self._get_gateway),
            ("POST", "/users/@me/channels", self._open_dm),
            ("GET", channel, self._get_channel),
            ("POST", channel + "/typing", self._typing),
            ("GET", channel + "/messages", self._get_messages),
            ("POST", channel + "/messages", self._post_message),
            ("GET", channel + "/messages/{message}", self._channel_message),
            ("PATCH", channel + "/messages/{message}", self._channel_message),
            ("DELETE", channel + "/messages/{message}", self._channel_message),
            ("GET", "/users/{user}", self._get_user),
            ("GET", application + "/commands", self._commands),
            ("PUT", application + "/commands", self._commands),
            ("GET", application + "/guilds/{guild}/commands", self._commands),
            ("PUT", application + "/guilds/{guild}/commands", self._commands),
            ("*", "/{tail:.*}", self._no_route),
        ]
        for needs_token, routes in ((False, open_routes), (True, bot_routes)):
            for method, path, handler in routes:
                app.router.add_route(method, "/api/v10" + path, partial(self._rest, handler, needs_token))
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.rest_url = f"http://127.0.0.1:{self.port}/api/v10"
        self.gateway_url = f"ws://127.0.0.1:{self.port}/gw"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.drop_connections(code=1001)
        await self._runner.cleanup()

    # --- what a test does -------------------------------------------------------------------------------

    def redirect(self, monkeypatch: Any) -> None:
        """Point discord.py here until the monkeypatch fixture undoes it."""
        monkeypatch.setattr(discord.http.Route, "BASE", self.rest_url)
        url = yarl.URL(self.gateway_url)
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", url)

    def add_user(self, user_id: int, name: str, *, bot: bool = False) -> Json:
        user = {"id": str(user_id), "username": name, "discriminator": "0", "avatar": None, "bot": bot}
        self.users[user_id] = user | {"global_name": name.title()}
        return self.users[user_id]

    async def event(self, name: str, data: Json) -> None:
        """Send any gateway event as it is, to every session."""
        for session in list(self.sessions.values()):
            session.events.append((name, data))
            await session.flush()

    def fail_next(
        self, status: int, headers: Json | None = None, times: int = 1, *, path: str = "", after: bool = False
    ) -> None:
        """Answer the next `times` REST calls (with `path` in "METHOD /path") with a fault. With `after` the
        call takes effect and only its answer is lost. discord.py itself tries 500, 502 and 504 again after
        1, 3, 5... seconds, 429 after Retry-After, and takes a 429 without Via for a ban."""
        self._faults.append(Fault(status, headers or {}, times, path, after))

    def limit(self, path: str, most: int, seconds: float) -> None:
        """Take only `most` calls in `seconds` of each bucket of the route with `path` in "METHOD /path"."""
        self._limits.append(Limit(path, most, seconds))

    async def ask_to_reconnect(self) -> None:
        """Opcode 7: clients connect anew and resume."""
        for connection in list(self._connections):
            await connection.send(7, None)

    async def invalidate(self, *, resumable: bool) -> None:
        """Opcode 9: the session is invalid; `resumable` says that it can go on all the same."""
        connections = list(self._connections)
        if not resumable:
            self.sessions.clear()
        for connection in connections:
            await connection.send(9, resumable)

    async def drop_connections(self, code: int | None = 4000, *, keep_sessions: bool = True) -> None:
        """Close every gateway socket (None: cut the line). Without its session a RESUME is refused."""
        connections = list(self._connections)
        for session in self.sessions.values():
            session.connection = None
        if not keep_sessions:
            self.sessions.clear()
        for connection in connections:
            if code is None and connection.transport:
                connection.transport.abort()
        if code is not None:
            await asyncio.gather(*(c.ws.close(code=code) for c in connections))

    async def wait_for(self, predicate: Callable[[DiscordServer], Any], timeout: float = 5) -> Any:
        """Wait until predicate(server) is true, and return what it returned. It may look at anything."""
        end = time.monotonic() + timeout
        while not (value := predicate(self)):
            if time.monotonic() > end:
                calls = "; ".join(f"{c.method} {c.path} -> {c.status}" for c in self.calls[-8:])
                raise TimeoutError(f"not true within {timeout} s; last calls: {calls}")
            await asyncio.sleep(0.005)
        return value

    @property
    def connected(self) -> bool:
        return any(s.connection for s in self.sessions.values())

    @property
    def intents(self) -> int:
        """The intents of the last IDENTIFY."""
        return self.identifies[-1]["intents"]

    def response(self, interaction: Json) -> Interaction:
        """What the bot has answered to what `interact` or `click` returned."""
        return self.interactions[interaction["token"]]

    # --- gateway (events/gateway, events/gateway-events, topics/opcodes-and-status-codes) ---------------

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        """HELLO, then heartbeats, and a session by IDENTIFY or RESUME."""
        ws = web.WebSocketResponse(timeout=1)
        await ws.prepare(request)
        connection = Connection(ws, request)
        self._connections.add(connection)
        session: Session | None = None
        try:
            await connection.send(10, {"heartbeat_interval": self.heartbeat_interval})
            async for frame in ws:
                packet = json.loads(frame.data) if frame.type is WSMsgType.TEXT else {"op": None}
                if packet["op"] == 1:
                    if self.acknowledges:
                        await connection.send(11, None)
                elif packet["op"] == 2:
                    session = await self._identify(connection, packet["d"])
                elif packet["op"] == 6:
                    session = await self._resume(connection, packet["d"])
            # A client that closes with 1000 or 1001 ends its session (events/gateway#disconnecting).
            if session and session.connection is connection and ws.close_code in (1000, 1001):
                self.sessions.pop(session.id, None)
        except ConnectionError:
            pass
        finally:
            self._connections.discard(connection)
            if session and session.connection is connection:
                session.connection = None
        return ws

    async def _identify(self, connection: Connection, d: Json) -> Session | None:
        self.identifies.append(d)
        allowed_privileged = MESSAGE_CONTENT if self.message_content_enabled else 0
        privileged = d["intents"] & (MESSAGE_CONTENT | GUILD_MEMBERS | GUILD_PRESENCES)
        if d["token"] != self.token:
            await connection.ws.close(code=4004, message=b"Authentication failed.")
            return None
        if privileged & ~allowed_privileged:
            await connection.ws.close(code=4014, message=b"Disallowed intent(s).")
            return None
        session = Session(secrets.token_hex(16), d["intents"], connection=connection)
        self.sessions[session.id] = session
        guild = {"id": str(self.guild_id), "unavailable": True}  # until its GUILD_CREATE
        ready = {"v": 10, "user": self.users[self.bot_id], "session_id": session.id, "guilds": [guild]}
        ready |= {"resume_gateway_url": self.gateway_url, "shard": [0, 1]}
        ready["application"] = {"id": str(self.application_id), "flags": self._application_flags()}
        session.events.append(("READY", ready))
        if session.intents & GUILDS:
            session.events.append(("GUILD_CREATE", self._guild()))
        await session.flush()
        return session

    async def _resume(self, connection: Connection, d: Json) -> Session | None:
        """Replay what came after `seq`, then RESUMED (events/gateway#resuming)."""
        self.resumes.append(d)
        session = self.sessions.get(d["session_id"])
        if d["token"] != self.token:
            await connection.ws.close(code=4004)
        elif session is None:
            await connection.send(9, False)
        elif d["seq"] > len(session.events):
            await connection.ws.close(code=4007)
        else:
            session.events.append(("RESUMED", {}))
            session.sent, session.connection = d["seq"], connection
            await session.flush()
            return session
        return None

    async def _dispatch(self, name: str, data: Json, channel_id: int) -> None:
        """Send an event to every session that is due it, now or on its RESUME."""
        guild_id = self._guild_of(channel_id)
        for session in list(self.sessions.values()):
            seen = data
            if name.startswith("MESSAGE"):
                if not session.intents & (GUILD_MESSAGES if guild_id else DIRECT_MESSAGES):
                    continue
                if "author" in data:
                    seen = self._seen(data, bool(session.intents & MESSAGE_CONTENT))
                if guild_id and "author" in data:  # in events only (events/gateway-events#message-create)
                    seen = seen | {"guild_id": str(guild_id), "member": self._member()}
            session.events.append((name, json.loads(json.dumps(seen))))
            await session.flush()

    def _seen(self, message: Json, with_content: bool) -> Json:
        """The message as the bot may see it (events/gateway#message-content-intent)."""
        bot = str(self.bot_id)
        own = message["author"]["id"] == bot or any(u["id"] == bot for u in message["mentions"])
        if not (with_content or own or self._guild_of(int(message["channel_id"])) is None):
            message = message | {"content": "", "attachments": [], "embeds": [], "components": []}
        if message.get("referenced_message"):
            inner = self._seen(message["referenced_message"], with_content)
            message = message | {"referenced_message": inner}
        return message

    # --- what there is: users, guild, channels ----------------------------------------------------------

    def _snowflake(self) -> int:
        """Rising ids that carry the time."""
        self._last_id = max(self._last_id + 1, (int(time.time() * 1000) - EPOCH_MS) << 22)
        return self._last_id

    def _application_flags(self) -> int:
        """resources/application#application-flags: GATEWAY_MESSAGE_CONTENT_LIMITED"""
        return 1 << 19 if self.message_content_enabled else 0

    def _add_channel(self, channel_id: int, kind: int, **fields: Any) -> int:
        channel = {"id": str(channel_id), "type": kind, "last_message_id": None} | fields
        if kind != 1:
            channel |= {"guild_id": str(self.guild_id), "permission_overwrites": []}
        self.channels[channel_id] = channel
        return channel_id

    def _guild_of(self, channel_id: int) -> int | None:
        return None if self.channels[channel_id]["type"] == 1 else self.guild_id

    def _member(self, user_id: int | None = None) -> Json:
        """resources/guild#guild-member-object; without its user, as messages carry it."""
        member = {"roles": [], "joined_at": "2026-01-01T00:00:00+00:00", "flags": 0}
        return member | ({"user": self.users[user_id]} if user_id else {})

    def _guild(self) -> Json:
        """events/gateway-events#guild-create"""
        guild_id, members = str(self.guild_id), [self._member(self.bot_id), self._member(self.user_id)]
        everyone = {"id": guild_id, "name": "@everyone", "permissions": ALL_PERMISSIONS, "position": 0}
        guild = {"id": guild_id, "name": "The shop", "owner_id": str(self.user_id), "unavailable": False}
        guild |= {"roles": [everyone], "members": members, "member_count": len(members)}
        guild |= {"channels": [c for c in self.channels.values() if c["type"] == 0]}
        guild["channels"] += [c for c in self.channels.values() if c["type"] == 15]
        return guild | {"threads": [c for c in self.channels.values() if c["type"] == 11]}

    # --- messages (resources/message) -------------------------------------------------------------------

    def _check(self, body: Json, files: dict[str, bytes]) -> None:
        """What Discord refuses (topics/opcodes-and-status-codes#json)."""
        content = body.get("content") or ""
        if len(content) > 2000:
            raise ApiError.form("content", "BASE_TYPE_MAX_LENGTH", "Must be 2000 or fewer in length.")
        for component in components(body.get("components") or []):
            if len(component.get("custom_id", "")) > 100 or len(component.get("label", "")) > 80:
                raise ApiError.form("components", "BASE_TYPE_MAX_LENGTH", "Too long.")
        rows = body.get("components") or ()
        if len(rows) > 5 or any(len(row["components"]) > 5 for row in rows):
            raise ApiError.form("components", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
        if len(str(body.get("nonce") or "")) > 25:
            raise ApiError.form("nonce", "BASE_TYPE_MAX_LENGTH", "Must be 25 or fewer in length.")
        other = ("embeds", "components", "sticker_ids", "poll", "attachments")
        if not content.strip() and not files and not any(body.get(n) for n in other):
            raise ApiError(400, 50006, "Cannot send an empty message")

    def _mentions(self, message: Json, allowed: Json | None) -> Json:
        """Whom a text pings, under allowed_mentions (resources/message#allowed-mentions-object)."""
        parse = {"users", "roles", "everyone"} if allowed is None else set(allowed.get("parse", ()))
        named = dict.fromkeys(re.findall(r"<@!?(\d+)>", message["content"]))
        ids = [i for i in named if "users" in parse or i in map(str, (allowed or {}).get("users", ()))]
        replied = message.get("referenced_message")
        if replied and (allowed is None or allowed.get("replied_user")):
            ids.append(replied["author"]["id"])
        everyone = "everyone" in parse and bool(re.search("@(everyone|here)", message["content"]))
        users = [self.users[int(i)] for i in dict.fromkeys(ids) if int(i) in self.users]
        return {"mentions": users, "mention_everyone": everyone}

    def _attach(self, channel_id: int, files: dict[str, bytes]) -> list[Json]:
        attached = []
        for name, data in files.items():
            attachment_id = str(self._snowflake())
            path = f"/attachments/{channel_id}/{attachment_id}/{name}"
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            kind += "; charset=utf-8" if kind.startswith("text/") else ""
            self.files[path] = (kind, data)
            url = f"http://127.0.0.1:{self.port}{path}"
            about = {"id": attachment_id, "filename": name, "size": len(data), "content_type": kind}
            attached.append(about | {"url": url, "proxy_url": url})
        return attached

    async def _create(
        self, channel_id: int, author: Json, body: Json, files: dict[str, bytes] | None = None, **extra: Any
    ) -> Json:
        """Store a message and tell the sessions. Ephemeral ones are stored, but no event is sent."""
        message = {"id": str(self._snowflake()), "channel_id": str(channel_id), "author": author, "type": 0}
        message |= {"content": (body.get("content") or "").strip(), "flags": body.get("flags", 0)}
        message |= {"timestamp": now(), "edited_timestamp": None, "tts": False, "pinned": False}
        message |= {"embeds": body.get("embeds") or [], "components": body.get("components") or []}
        message |= {"attachments": self._attach(channel_id, files or {})} | extra
        if body.get("nonce"):
            message["nonce"] = body["nonce"]
        if reference := body.get("message_reference"):
            replied = self._find(channel_id, str(reference["message_id"]))
            if replied is None and reference.get("fail_if_not_exists", True):
                raise ApiError.form("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
            place = {"channel_id": str(channel_id), "message_id": str(reference["message_id"])}
            message |= {"type": 19, "message_reference": place, "referenced_message": replied}
        message |= self._mentions(message, body.get("allowed_mentions"))
        self.messages[channel_id].append(message)
        self._nonces[author["id"], str(body.get("nonce"))] = (self.clock(), message)
        self.channels[channel_id]["last_message_id"] = message["id"]
        if not message["flags"] & EPHEMERAL:
            await self._dispatch("MESSAGE_CREATE", message, channel_id)
        return message

    async def _edit(self, message: Json, body: Json, files: dict[str, bytes]) -> Json:
        """Apply an edit in place. The first answer to a deferred interaction does not count as one."""
        after = message | {n: body[n] or [] for n in ("embeds", "components") if n in body}
        if "content" in body:
            after["content"] = (body["content"] or "").strip()
        if "attachments" in body:
            kept = {str(a["id"]) for a in body["attachments"] or ()}
            after["attachments"] = [a for a in message["attachments"] if a["id"] in kept]
        self._check(after, files)
        changeable = body.get("flags", message["flags"]) & SUPPRESS_EMBEDS  # the only flag of an edit
        after["flags"] = (message["flags"] & ~LOADING & ~SUPPRESS_EMBEDS) | changeable
        after["attachments"] = after["attachments"] + self._attach(int(message["channel_id"]), files)
        after |= self._mentions(after, body.get("allowed_mentions"))
        if not message["flags"] & LOADING:
            after["edited_timestamp"] = now()
        message.update(after)
        if not message["flags"] & EPHEMERAL:
            await self._dispatch("MESSAGE_UPDATE", message, int(message["channel_id"]))
        return message

    def _find(self, channel_id: int, message_id: str) -> Json | None:
        return next((m for m in self.messages[channel_id] if m["id"] == message_id), None)

    # --- REST -------------------------------------------------------------------------------------------

    async def _rest(self, handler: Any, needs_token: bool, request: web.Request) -> web.Response:
        """Record a call, check the token, apply a fault, answer. The header must be exactly
        `application/json`: with a charset discord.py takes the body for text (http.py, json_or_text)."""
        call = Call(request.method, request.path.removeprefix("/api/v10"), None, dict(request.query))
        call.params = dict(request.match_info)
        if request.content_type == "application/json":
            call.json = await request.json()
        elif request.content_type == "multipart/form-data":  # reference#uploading-files
            async for part in await request.multipart():
                if part.name == "payload_json":
                    call.json = json.loads(await part.text())
                else:
                    call.files[part.filename or part.name] = bytes(await part.read(decode=True))
        self.calls.append(call)
        headers = self._spend(call)
        fault = Fault(429, headers, 1, "", False) if "Retry-After" in headers else self._fault(call)
        try:
            if needs_token and request.headers.get("Authorization") != f"Bot {self.token}":
                raise ApiError(401, 0, "401: Unauthorized")
            result = None if fault and not fault.after else await handler(call)
            call.status = 204 if result is None else 200
        except ApiError as error:
            call.status, result = error.status, error.body
        if fault:
            call.status, headers = fault.status, headers | fault.headers
            result = {"message": "a fault of the test's making", "code": 0}
            if fault.status == 429:  # topics/rate-limits#exceeding-a-rate-limit
                headers = {"Via": "1.1 google", "Retry-After": "0.05"} | headers
                is_global = headers.get("X-RateLimit-Global") == "true"
                result |= {"retry_after": float(headers["Retry-After"]), "global": is_global}
        if result is None:
            return web.Response(status=204)
        body = json.dumps(result).encode()
        return web.Response(body=body, status=call.status, headers=headers, content_type="application/json")

    def _fault(self, call: Call) -> Fault | None:
        for fault in self._faults:
            if fault.times and fault.path in f"{call.method} {call.path}":
                fault.times -= 1
                return fault
        return None

    def _spend(self, call: Call) -> dict[str, str]:
        """Headers of the call's bucket (topics/rate-limits#header-format); Retry-After when it is empty."""
        limit = next((found for found in self._limits if found.path in f"{call.method} {call.path}"), None)
        if limit is None:
            return {}
        bucket = next((call.params[n] for n in ("channel", "token", "application") if n in call.params), "")
        now = time.time()
        used = limit.used[bucket] = [at for at in limit.used[bucket] if at > now - limit.seconds]
        reset = (used[0] if used else now) + limit.seconds
        headers = {"X-RateLimit-Bucket": f"{abs(hash(limit.path)):x}", "X-RateLimit-Limit": str(limit.most)}
        headers |= {"X-RateLimit-Reset": f"{reset:.3f}", "X-RateLimit-Reset-After": f"{reset - now:.3f}"}
        if len(used) >= limit.most:
            wait = {"X-RateLimit-Remaining": "0", "Retry-After": f"{reset - now:.3f}"}
            return headers | wait | {"X-RateLimit-Scope": "user"}
        used.append(now)
        return headers | {"X-RateLimit-Remaining": str(limit.most - len(used))}

    def _channel_of(self, call: Call) -> int:
        channel_id = int(call.params["channel"])
        if channel_id not in self.channels:
            raise ApiError(404, 10003, "Unknown Channel")
        if channel_id in self.forbidden:
            raise ApiError(403, 50001, "Missing Access")
        return channel_id

    async def _no_route(self, call: Call) -> None:
        raise ApiError(404, 0, f"the test server does not know {call.method} {call.path}")

    async def _get_me(self, call: Call) -> Json:
        return self.users[self.bot_id]

    async def _get_user(self, call: Call) -> Json:
        if (user_id := int(call.params["user"])) not in self.users:
            raise ApiError(404, 10013, "Unknown User")
        return self.users[user_id]

    async def _get_application(self, call: Call) -> Json:
        application = {"id": str(self.application_id), "name": "frontdesk", "description": "", "icon": None}
        application |= {"bot_public": False, "bot_require_code_grant": False, "verify_key": "0" * 64}
        return application | {"owner": self.users[self.user_id], "flags": self._application_flags()}

    async def _get_gateway(self, call: Call) -> Json:
        limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
        return {"url": self.gateway_url, "shards": 1, "session_start_limit": limit}

    async def _open_dm(self, call: Call) -> Json:
        return self.channels[self.dm_channel(int(call.json["recipient_id"]))]

    async def _get_channel(self, call: Call) -> Json:
        return self.channels[self._channel_of(call)]

    async def _typing(self, call: Call) -> None:
        self._channel_of(call)

    async def _get_messages(self, call: Call) -> list[Json]:
        """Newest first; `after` picks the ones next after it (resources/message#get-channel-messages).
        A nonce is told only to whoever posts."""
        found = [m for m in self.messages[self._channel_of(call)] if not m["flags"] & EPHEMERAL]
        limit = int(call.query.get("limit", 50))
        if not 1 <= limit <= 100:
            raise ApiError.form("limit", "NUMBER_TYPE_MAX", "int value should be between 1 and 100.")
        if "before" in call.query:
            found = [m for m in found if int(m["id"]) < int(call.query["before"])]
        if "after" in call.query:
            found = [m for m in found if int(m["id"]) > int(call.query["after"])][:limit]
        seen = [self._seen(m, self.message_content_enabled) for m in reversed(found[-limit:])]
        return [{name: value for name, value in message.items() if name != "nonce"} for message in seen]

    async def _post_message(self, call: Call) -> Json:
        """With enforce_nonce the same nonce gives the message there is (#create-message)."""
        channel_id = self._channel_of(call)
        self._check(call.json, call.files)
        if call.json.get("enforce_nonce") and call.json.get("nonce"):
            key = (str(self.bot_id), str(call.json["nonce"]))
            created, existing = self._nonces.get(key, (0, None))
            if existing and self.clock() - created < NONCE_LIVES:
                return existing
        return await self._create(channel_id, self.users[self.bot_id], call.json, call.files)

    async def _channel_message(self, call: Call) -> Json | None:
        """GET, PATCH and DELETE of one message."""
        message = self._find(self._channel_of(call), call.params["message"])
        if message is None or message["flags"] & EPHEMERAL:
            raise ApiError(404, 10008, "Unknown Message")
        if call.method == "GET":
            return self._seen(message, self.message_content_enabled)
        if message["author"]["id"] != str(self.bot_id):
            raise ApiError(403, 50005, "Cannot edit a message authored by another user")
        if call.method == "DELETE":
            await self.remove(message)
            return None
        return await self._edit(message, call.json, call.files)

    async def _commands(self, call: Call) -> list[Json]:
        """interactions/application-commands#bulk-overwrite-global-application-commands, and the guild's."""
        guild_id = int(call.params["guild"]) if "guild" in call.params else None
        if call.method == "PUT":
            _check_commands(call.json)
            old = {(c["name"], c["type"]): c["id"] for c in self.commands.get(guild_id, ())}
            place = {"guild_id": str(guild_id)} if guild_id else {}
            place |= {"application_id": str(self.application_id), "version": str(self._snowflake())}
            self.commands[guild_id] = [
                {"type": 1, "description": ""}
                | command
                | {"id": old.get((command["name"], command.get("type", 1))) or str(self._snowflake())}
                | place
                for command in call.json
            ]
        return self.commands.get(guild_id, [])

    async def _attachment(self, request: web.Request) -> web.Response:
        if request.path not in self.files:
            return web.Response(status=404)
        kind, data = self.files[request.path]
        return web.Response(body=data, headers={"Content-Type": kind})

    # --- interactions (interactions/receiving-and-responding) -------------------------------------------

    async def _interaction(self, kind: int, data: Json, channel_id: int, user_id: int, **extra: Any) -> Json:
        """Send INTERACTION_CREATE (#interaction-object); no intent is needed for it."""
        if user_id not in self.users:
            self.add_user(user_id, f"user{user_id}")
        application, guild_id = str(self.application_id), self._guild_of(channel_id)
        payload: Json = {"id": str(self._snowflake()), "application_id": application, "type": kind}
        payload |= {"token": secrets.token_hex(24), "version": 1, "data": data, "locale": "en-US"} | extra
        payload |= {"channel": self.channels[channel_id], "channel_id": str(channel_id)}
        payload |= {"app_permissions": ALL_PERMISSIONS, "attachment_size_limit": 10 << 20}
        if guild_id:
            member = self._member(user_id) | {"permissions": ALL_PERMISSIONS}
            guild = {"id": str(guild_id), "locale": "en-US", "features": []}
            payload |= {"guild_id": str(guild_id), "guild": guild, "member": member, "context": 0}
        else:
            payload |= {"user": self.users[user_id], "context": 1}
        self.interactions[payload["token"]] = Interaction(payload, self.clock())
        await self._dispatch("INTERACTION_CREATE", payload, channel_id)
        return payload

    async def _respond(self, record: Interaction, body: Json, files: dict[str, bytes]) -> Json:
        """Post a message in answer to an interaction."""
        payload, application = record.payload, str(self.application_id)
        user = payload.get("user") or payload["member"]["user"]
        about = {"id": payload["id"], "type": payload["type"], "user": user}
        extra = {"webhook_id": application, "application_id": application, "interaction_metadata": about}
        bot = self.users[self.bot_id]
        kind = 20 if payload["type"] == 2 and not record.messages else 0
        message = await self._create(int(payload["channel_id"]), bot, body, files, type=kind, **extra)
        record.messages.append(message)
        return message

    async def _callback(self, call: Call) -> Json | None:
        """#create-interaction-response: once, and within three seconds."""
        record = self.interactions.get(call.params["token"])
        if record is None or self.clock() - record.created > RESPOND_WITHIN:
            raise ApiError(404, 10062, "Unknown interaction")
        if record.callback is not None:
            raise ApiError(400, 40060, "Interaction has already been acknowledged.")
        kind, body = call.json["type"], call.json.get("data") or {}
        if kind == 4:
            self._check(body, call.files)
        if kind == 8 and len(body["choices"]) > 25:
            raise ApiError.form("choices", "BASE_TYPE_BAD_LENGTH", "Must be 25 or fewer in length.")
        if kind == 9:
            _check_modal(body)
        record.callback = call.json
        if kind == 5:
            body = {"flags": LOADING | (body.get("flags", 0) & EPHEMERAL)}
        if kind in (4, 5):
            record.message = await self._respond(record, body, call.files)
        elif kind in (6, 7):  # of a button: the message it sits on is the original one
            record.message = record.payload["message"]
            if kind == 7:
                await self._edit(record.message, body, call.files)
        if call.query.get("with_response") not in ("1", "true"):
            return None
        about: Json = {"id": record.payload["id"], "type": record.payload["type"]}
        if record.message is None:
            return {"interaction": about}
        about |= {"response_message_id": record.message["id"], "response_message_loading": kind == 5}
        about |= {"response_message_ephemeral": bool(record.message["flags"] & EPHEMERAL)}
        return {"interaction": about, "resource": {"type": kind, "message": record.message}}

    def _hook(self, call: Call) -> Interaction:
        record = self.interactions.get(call.params["token"])
        if record is None or record.callback is None:
            raise ApiError(404, 10015, "Unknown Webhook")
        if self.clock() - record.created > TOKEN_LIVES:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        return record

    async def _follow_up(self, call: Call) -> Json:
        """#create-followup-message; after a deferral the first one fills the loading message."""
        record = self._hook(call)
        self._check(call.json, call.files)
        if record.message and record.message["flags"] & LOADING:
            return await self._edit(record.message, call.json, call.files)
        return await self._respond(record, call.json, call.files)

    async def _hook_message(self, call: Call) -> Json | None:
        """#get-original-interaction-response, #edit-original-..., and the same for a follow-up."""
        record, wanted = self._hook(call), call.params["message"]
        known = [m for m in record.messages if m["id"] == wanted]
        message = record.message if wanted == "@original" else known[0] if known else None
        if message is None:
            raise ApiError(404, 10008, "Unknown Message")
        if call.method == "DELETE":
            record.messages = [m for m in record.messages if m is not message]
            record.message = None if record.message is message else record.message
            await self.remove(message)
            return None
        return message if call.method == "GET" else await self._edit(message, call.json, call.files)


def _check_commands(commands: list[Json]) -> None:
    """interactions/application-commands#application-command-object, and its naming."""
    kinds = [command.get("type", 1) for command in commands]
    if kinds.count(1) > 100 or kinds.count(3) > 15:
        raise ApiError(400, 30032, "Maximum number of application commands reached (100)")
    for command, kind in zip(commands, kinds, strict=True):
        named = [command, *command.get("options", ())] if kind == 1 else []
        for one in named:
            if not re.fullmatch(r"[-_'\w]{1,32}", one["name"]) or one["name"] != one["name"].lower():
                raise ApiError.form("name", "STRING_TYPE_REGEX", f"{one['name']!r} is no valid name.")
            if not 1 <= len(one["description"]) <= 100:
                raise ApiError.form("description", "BASE_TYPE_BAD_LENGTH", "Must be 1 to 100 in length.")
        required = [bool(option.get("required")) for option in command.get("options", ())]
        if required != sorted(required, reverse=True):
            raise ApiError.form("options", "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", "Required first.")
        if len(required) > 25 or any(len(o.get("choices", ())) > 25 for o in command.get("options", ())):
            raise ApiError.form("options", "BASE_TYPE_MAX_LENGTH", "Must be 25 or fewer in length.")


def _check_modal(body: Json) -> None:
    """interactions/receiving-and-responding#interaction-response-object-modal"""
    fields = list(components(body["components"]))
    if len(body["title"]) > 45 or len(body["custom_id"]) > 100 or not 1 <= len(body["components"]) <= 5:
        raise ApiError.form("components", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
    if any(len(f.get("label") or "") > 45 or f.get("max_length", 1) > 4000 for f in fields):
        raise ApiError.form("components", "BASE_TYPE_MAX_LENGTH", "Must be 45 or fewer in length.")
