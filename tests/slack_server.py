"""A local Slack for tests: Web API, Socket Mode and signed Events API requests, on real HTTP and WebSockets.

An unmodified slack-bolt app talks to it when its client is ``AsyncWebClient(base_url=server.api_url)``. It
knows one workspace, one bot, a few channels and people; other workspaces are nothing but tokens. It does not
know frontdesk or scopes. It follows Slack's published method and event pages; where Slack is slow, the times
are settable.
"""

import asyncio
import itertools
import json
import mimetypes
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from slack_posts import SlackError, SlackPosts
from slack_surfaces import SlackSurfaces

MAX_TEXT = 40_000  # chat.postMessage cuts longer text off
MAX_EDIT_TEXT = 4_000  # chat.update refuses longer text
MAX_MARKDOWN_TEXT = 12_000  # markdown_text is refused above this
MAX_RESPONSE_URL_USES = 5
SUBSCRIPTION = {"channel": "message.channels", "group": "message.groups", "im": "message.im"}


class Call(NamedTuple):
    """One Web API request, as the bot made it (without its token)."""

    method: str
    args: dict


class Answer(NamedTuple):
    """What an HTTP-mode app answered to a posted event."""

    status: int
    text: str


@dataclass
class Fault:
    """What the next calls of one method meet instead of an answer; see `SlackServer.fail_next`."""

    method: str
    error: str | None
    status: int | None
    headers: dict[str, str]
    times: int
    after: bool
    delay: float
    content_type: str

    def response(self) -> web.Response | None:
        """The failing answer; None when the connection is to be dropped without one."""
        if self.error:
            status = self.status or (429 if self.error == "ratelimited" else 200)
            headers = ({"Retry-After": "1"} if status == 429 else {}) | self.headers
            scopes = {"needed": "chat:write", "provided": "identify"} if self.error == "missing_scope" else {}
            body = {"ok": False, "error": self.error} | scopes
            return web.json_response(body, status=status, headers=headers)
        if self.status:
            kind = {"Content-Type": self.content_type} | self.headers
            return web.Response(status=self.status, body=b"<p>upstream error</p>", headers=kind)
        return None


@dataclass
class Workspace:
    """What Slack stores: people, channels, files, and in `messages` what a user would see, in order."""

    bot_token: str = "xoxb-100-200-frontdesk"
    app_token: str = "xapp-1-A100-300-frontdesk"
    signing_secret: str = "8f742231b10e8888abcd99yyyzzz85a5"
    team_id: str = "T100"
    app_id: str = "A100"
    bot_user_id: str = "UBOT"
    bot_id: str = "B100"
    user_id: str = "UANNA"
    channel_id: str = "C100"
    second_channel_id: str = "C200"
    dm_channel_id: str = "D100"
    users: dict[str, dict] = field(default_factory=dict)
    channels: dict[str, dict] = field(default_factory=dict)
    messages: dict[str, list[dict]] = field(default_factory=dict)
    ephemeral: list[dict] = field(default_factory=list)  # messages only one user saw
    files: dict[str, bytes] = field(default_factory=dict)
    installed: dict[str, dict] = field(default_factory=dict)  # by token: who the bot is in other workspaces
    _last_ts_us: int = 0

    def __post_init__(self) -> None:
        self.add_user(self.user_id, "Anna")
        self.add_user(self.bot_user_id, "frontdesk", is_bot=True)
        self.add_channel(self.channel_id, "support")
        self.add_channel(self.second_channel_id, "sales")
        self.add_channel(self.dm_channel_id, kind="im", user=self.user_id)

    def add_user(self, user_id: str, name: str, is_bot: bool = False) -> None:
        profile = {"real_name": name, "display_name": name}
        names = {"name": name.lower(), "real_name": name, "profile": profile}
        self.users[user_id] = {"id": user_id, "team_id": self.team_id, **names, "is_bot": is_bot}

    def add_channel(self, channel_id: str, name: str = "", kind: str = "channel", user: str = "") -> None:
        """Add a public channel ("channel"), a private one ("group") or the bot's direct messages ("im")."""
        flags = {f"is_{other}": other == kind for other in SUBSCRIPTION}
        about = {"user": user} if kind == "im" else {"name": name, "is_member": True}
        self.channels[channel_id] = {"id": channel_id, **flags, **about, "is_archived": False}
        self.messages[channel_id] = []

    def open_dm(self, user_id: str) -> str:
        for channel in self.channels.values():
            if channel.get("user") == user_id:
                return channel["id"]
        self.add_channel(f"D{user_id}", kind="im", user=user_id)
        return f"D{user_id}"

    def kind(self, channel_id: str) -> str:
        return next(kind for kind in SUBSCRIPTION if self.channels[channel_id][f"is_{kind}"])

    def new_ts(self) -> str:
        """A message id: seconds and microseconds, unique and rising, as in Slack."""
        self._last_ts_us = max(self._last_ts_us + 1, time.time_ns() // 1000)
        return f"{self._last_ts_us // 1_000_000}.{self._last_ts_us % 1_000_000:06d}"

    def find(self, channel_id: str, ts: str | None) -> dict:
        for message in self.messages[channel_id]:
            if message["ts"] == ts:
                return message
        raise SlackError("message_not_found")

    def replies(self, channel_id: str, ts: str) -> list[dict]:
        return [m for m in self.messages[channel_id] if m.get("thread_ts") == ts and m["ts"] != ts]

    def shown(self, channel_id: str, message: dict, with_metadata: bool) -> dict:
        """A message as conversations.* return it: metadata only on request, counts on a thread's root."""
        shown = dict(message) if with_metadata else _without_metadata(message)
        if replies := self.replies(channel_id, message["ts"]):
            latest = replies[-1]["ts"]
            shown |= {"thread_ts": message["ts"], "reply_count": len(replies), "latest_reply": latest}
        return shown


class WebApi(Workspace):
    """The Web API: ``/api/<method>`` with form, query or JSON arguments and a bearer token."""

    calls: list[Call]
    errors: list[tuple[str, str]]
    faults: list[Fault]

    async def _serve_api(self, request: web.Request) -> web.Response:
        method, args = request.match_info["method"], await _read_arguments(request)
        token = args.pop("token", "") or request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.calls.append(Call(method, args))
        fault = self._take_fault(method)
        if fault:
            await asyncio.sleep(fault.delay)
        if not fault or fault.after:
            body = self._answer(method, args, token)
        if not fault:
            return web.json_response(body)
        failure = fault.response()
        if failure is None:  # no answer: what is returned here goes nowhere
            if request.transport:  # none: the client left during the delay
                request.transport.close()
            return web.Response()
        return failure

    def _answer(self, method: str, args: dict, token: str) -> dict:
        try:
            call = getattr(self, "_api_" + method.replace(".", "_"), None)
            if call is None:
                raise SlackError("unknown_method")
            self._authorize(method, token)
            self._caller = self.installed.get(token, {})
            return {"ok": True, **call(args)}
        except SlackError as error:
            self.errors.append((method, str(error)))
            return {"ok": False, "error": str(error)}

    def _take_fault(self, method: str) -> Fault | None:
        for fault in self.faults:
            if fault.method == method and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _authorize(self, method: str, token: str) -> None:
        if not token:
            raise SlackError("not_authed")
        if token not in (self.bot_token, self.app_token, *self.installed):
            raise SlackError("invalid_auth")
        if (token == self.app_token) != (method == "apps.connections.open"):
            raise SlackError("not_allowed_token_type")

    def _channel(self, args: dict, key: str = "channel") -> str:
        """The channel argument; a person's id stands for the bot's talk with them."""
        channel_id = args.get(key)
        if channel_id in self.users:
            return self.open_dm(channel_id)
        if channel_id not in self.channels:
            raise SlackError("channel_not_found")
        return channel_id

    def _content(self, args: dict) -> dict:
        """text, blocks and metadata of a message; at least one of the visible ones is needed."""
        text, markdown_text, blocks = args.get("text"), args.get("markdown_text"), args.get("blocks")
        if markdown_text and (text or blocks):
            raise SlackError("markdown_text_conflict")
        if len(markdown_text or "") > MAX_MARKDOWN_TEXT:
            raise SlackError("msg_too_long")
        if not (text or markdown_text or blocks):
            raise SlackError("no_text")
        metadata = args.get("metadata")
        if metadata and not {"event_type", "event_payload"} <= metadata.keys():
            raise SlackError("invalid_metadata_schema")
        if markdown_text:
            blocks = [{"type": "markdown", "text": markdown_text}]
        content = {"text": markdown_text or text, "blocks": blocks, "metadata": metadata}
        return {key: value for key, value in content.items() if value is not None}

    def _add_bot_message(self, channel_id: str, content: dict) -> dict:
        """Store a message of the bot; Slack sends the bot its own messages as events, too."""
        author = {"user": self.bot_user_id, "bot_id": self.bot_id, "app_id": self.app_id}
        message = {"type": "message", "text": "", "ts": self.new_ts(), **author, **content}
        self.messages[channel_id].append(message)
        self.announce(channel_id, message)
        return message

    def _api_auth_test(self, args: dict) -> dict:
        names = {"url": "https://frontdesk.slack.com/", "team": "Frontdesk", "user": "frontdesk"}
        ids = {"team_id": self.team_id, "user_id": self.bot_user_id, "bot_id": self.bot_id}
        return {**names, **ids, "is_enterprise_install": False, **self._caller}

    def _api_chat_postMessage(self, args: dict) -> dict:
        channel_id, content = self._channel(args), self._content(args)
        is_cut = len(content.get("text", "")) > MAX_TEXT
        if is_cut:
            content["text"] = content["text"][:MAX_TEXT]
        if args.get("thread_ts"):
            content["thread_ts"] = args["thread_ts"]
        if args.get("thread_ts") and _is_true(args.get("reply_broadcast")):
            content["subtype"] = "thread_broadcast"
        message = self._add_bot_message(channel_id, content)
        warning = {"warning": "message_truncated", "response_metadata": {"warnings": ["message_truncated"]}}
        return {"channel": channel_id, "ts": message["ts"], "message": message} | (warning if is_cut else {})

    def _api_chat_postEphemeral(self, args: dict) -> dict:
        message = {"channel": self._channel(args), "user": args.get("user"), **self._content(args)}
        self.ephemeral.append(message)
        return {"message_ts": self.new_ts()}

    def _own_message(self, args: dict, refusal: str) -> tuple[str, dict]:
        channel_id = self._channel(args)
        message = self.find(channel_id, args.get("ts"))
        if message.get("bot_id") != self.bot_id:
            raise SlackError(refusal)
        return channel_id, message

    def _api_chat_update(self, args: dict) -> dict:
        """Edit the bot's own message. Text without blocks removes old blocks; metadata stays if not given."""
        channel_id, message = self._own_message(args, "cant_update_message")
        if len(args.get("text") or "") > MAX_EDIT_TEXT:
            raise SlackError("msg_too_long")
        content, old = self._content(args), dict(message)
        if "text" in content:
            message.pop("blocks", None)
        if "blocks" not in content:
            message["edited"] = {"user": self.bot_user_id, "ts": self.new_ts()}
        message |= content
        self.announce(channel_id, message, subtype="message_changed", old=old)
        return {"channel": channel_id, "ts": message["ts"], "text": message["text"], "message": message}

    def _api_chat_delete(self, args: dict) -> dict:
        channel_id, message = self._own_message(args, "cant_delete_message")
        self.messages[channel_id].remove(message)
        self.announce(channel_id, message, subtype="message_deleted")
        return {"channel": channel_id, "ts": message["ts"]}

    def _page(self, channel_id: str, messages: list[dict], args: dict, default_limit: int) -> dict:
        """Cut a list by oldest/latest/inclusive, then by limit and cursor."""
        oldest, latest, inclusive = args.get("oldest"), args.get("latest"), _is_true(args.get("inclusive"))

        def is_wanted(ts: float) -> bool:
            if inclusive and ts in (float(oldest or -1), float(latest or -1)):
                return True
            return float(oldest or 0) < ts < float(latest or "inf")

        start, limit = int(args.get("cursor") or 0), int(args.get("limit") or default_limit)
        wanted = [message for message in messages if is_wanted(float(message["ts"]))]
        page, has_more = wanted[start : start + limit], len(wanted) > start + limit
        with_metadata = _is_true(args.get("include_all_metadata"))
        more = {"response_metadata": {"next_cursor": str(start + limit)}} if has_more else {}
        shown = [self.shown(channel_id, message, with_metadata) for message in page]
        return {"messages": shown, "has_more": has_more, **more}

    def _api_conversations_history(self, args: dict) -> dict:
        """The channel itself, newest first; replies inside threads are not part of it."""
        channel_id = self._channel(args)

        def is_root(message: dict) -> bool:
            own_thread = message.get("thread_ts", message["ts"]) == message["ts"]
            return own_thread or message.get("subtype") == "thread_broadcast"

        roots = [message for message in reversed(self.messages[channel_id]) if is_root(message)]
        return self._page(channel_id, roots, args, default_limit=100)

    def _api_conversations_replies(self, args: dict) -> dict:
        """One thread, oldest first, its root in front."""
        channel_id = self._channel(args)
        try:
            root = self.find(channel_id, args.get("ts"))
        except SlackError:
            raise SlackError("thread_not_found") from None
        thread = [root, *self.replies(channel_id, root["ts"])]
        return self._page(channel_id, thread, args, default_limit=1000)

    def _api_conversations_open(self, args: dict) -> dict:
        users = args.get("users") or self.channels.get(args.get("channel", ""), {}).get("user")
        if users not in self.users:
            raise SlackError("user_not_found" if args.get("users") else "channel_not_found")
        return {"channel": {"id": self.open_dm(users)}}

    def _api_conversations_info(self, args: dict) -> dict:
        return {"channel": self.channels[self._channel(args)]}

    def _api_users_info(self, args: dict) -> dict:
        if args.get("user") not in self.users:
            raise SlackError("user_not_found")
        return {"user": self.users[args["user"]]}

    def _api_assistant_threads_setStatus(self, args: dict) -> dict:
        self._channel(args, "channel_id")
        if "thread_ts" not in args or "status" not in args:
            raise SlackError("invalid_arguments")
        return {}

    def _api_reactions_add(self, args: dict) -> dict:
        message = self.find(self._channel(args), args.get("timestamp"))
        reactions = message.setdefault("reactions", [])
        if any(reaction["name"] == args.get("name") for reaction in reactions):
            raise SlackError("already_reacted")
        reactions.append({"name": args.get("name"), "users": [self.bot_user_id], "count": 1})
        return {}

    async def _serve_file(self, request: web.Request) -> web.Response:
        """A private file. Without the bot's token Slack leads to a sign-in page, with status 200."""
        if request.headers.get("Authorization") != f"Bearer {self.bot_token}":
            raise web.HTTPFound("/signin")
        if request.match_info["file_id"] not in self.files:
            raise web.HTTPNotFound
        content = self.files[request.match_info["file_id"]]
        return web.Response(body=content, content_type=_content_type(request.match_info["name"]))

    async def _serve_signin(self, request: web.Request) -> web.Response:
        return web.Response(text="<!DOCTYPE html><title>Sign in | Slack</title>", content_type="text/html")


class SocketMode:
    """Socket Mode: WebSockets that get a hello, then envelopes, each sent to one socket, to be acknowledged.

    An ``events_api`` envelope without acknowledgement inside `ack_timeout` seconds is sent again as a new
    envelope with the same ``event_id`` and a raised ``retry_attempt``, once for each of `retry_gaps` (Slack:
    at once, 60 s, 300 s). Others are sent once. With no socket open, `ack_timeout` is the wait for one.
    """

    def __init__(self, ack_timeout: float = 3.0, retry_gaps: tuple[float, ...] = (0.05, 0.1, 0.2)) -> None:
        super().__init__()
        self.ack_timeout = ack_timeout
        self.retry_gaps = retry_gaps
        self.envelopes: list[dict] = []  # every envelope sent
        self.acks: list[dict] = []  # every acknowledgement received, as the app sent it
        self.lost: list[dict] = []  # event payloads given up after the last retry
        self.sockets: dict[web.WebSocketResponse, asyncio.BaseTransport | None] = {}
        self.silent: set[web.WebSocketResponse] = set()  # these answer pings, and that is all
        self.ping_gap = 10.0  # seconds between Slack's own pings
        self.refusals = 0  # so many of the next sockets are refused; a ticket is good for one try
        self._connected = asyncio.Event()
        self._awaited_acks: dict[str, asyncio.Future[dict]] = {}
        self._tickets: set[str] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)

    def _api_apps_connections_open(self, args: dict) -> dict:
        ticket = f"ticket-{next(self._numbers)}"
        self._tickets.add(ticket)
        return {"url": f"ws{self.root_url.removeprefix('http')}/link/?ticket={ticket}&app_id={self.app_id}"}

    async def _serve_socket(self, request: web.Request) -> web.WebSocketResponse:
        ticket = request.query.get("ticket")
        if ticket not in self._tickets:
            raise web.HTTPForbidden
        self._tickets.discard(ticket)
        if self.refusals:
            self.refusals -= 1
            raise web.HTTPForbidden
        socket = web.WebSocketResponse(timeout=1.0)
        await socket.prepare(request)
        about = {"connection_info": {"app_id": self.app_id}, "debug_info": {"host": "applink-local"}}
        await socket.send_json({"type": "hello", "num_connections": len(self.sockets) + 1, **about})
        self.sockets[socket] = request.transport
        self._connected.set()
        pinging = asyncio.create_task(self._ping(socket))
        try:
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    self._take_ack(json.loads(frame.data))
        finally:
            pinging.cancel()
            self._forget(socket)
        return socket

    async def _ping(self, socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            await asyncio.sleep(self.ping_gap)
            if socket not in self.silent:
                await socket.ping()

    def _forget(self, socket: web.WebSocketResponse) -> None:
        self.sockets.pop(socket, None)
        if not self.sockets:
            self._connected.clear()

    def _take_ack(self, ack: dict) -> None:
        self.acks.append(ack)
        awaited = self._awaited_acks.get(ack.get("envelope_id", ""))
        if awaited and not awaited.done():
            awaited.set_result(ack)

    def _envelope(self, kind: str, payload: dict, **more: Any) -> dict:
        envelope = {"envelope_id": f"envelope-{next(self._numbers)}", "type": kind, "payload": payload}
        return {**envelope, "accepts_response_payload": kind != "events_api", **more}

    async def _send(self, envelope: dict) -> dict | None:
        """Send an envelope to one socket, in turn; return its acknowledgement, None if none came in time."""
        envelope_id = envelope["envelope_id"]
        self._awaited_acks[envelope_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self.ack_timeout):
                while not self.sockets:
                    await self._connected.wait()
                socket = list(self.sockets)[len(self.envelopes) % len(self.sockets)]
                self.envelopes.append(envelope)
                if socket not in self.silent:
                    await socket.send_json(envelope)
                return await self._awaited_acks[envelope_id]
        except (TimeoutError, ConnectionError):
            return None
        finally:
            del self._awaited_acks[envelope_id]

    def _deliver(self, payload: dict) -> None:
        """Begin to deliver an event, with Slack's retries, in the background."""
        task = asyncio.create_task(self._deliver_with_retries(payload))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _deliver_with_retries(self, payload: dict) -> None:
        for attempt, gap in enumerate((0, *self.retry_gaps)):
            await asyncio.sleep(gap)
            if await self._send(self._events_envelope(payload, attempt)):
                return
        self.lost.append(payload)

    def _events_envelope(self, payload: dict, attempt: int) -> dict:
        reason = "timeout" if attempt else ""
        return self._envelope("events_api", payload, retry_attempt=attempt, retry_reason=reason)

    async def delivered(self) -> None:
        """Until every event so far is acknowledged, or given up."""
        while self._deliveries:
            await asyncio.wait(list(self._deliveries))

    async def redeliver(self, envelope: dict) -> dict | None:
        """Send an event once more, acknowledged or not: same event_id, next retry_attempt. Return the ack."""
        return await self._send(self._events_envelope(envelope["payload"], envelope["retry_attempt"] + 1))

    def is_acked(self, event_id: str) -> bool:
        """True when any envelope that carried this event was acknowledged."""
        sent = {e["envelope_id"] for e in self.envelopes if e["payload"].get("event_id") == event_id}
        return any(ack.get("envelope_id") in sent for ack in self.acks)

    async def drop_connections(self, how: str = "close") -> None:
        """End every socket: "close" by a close frame (the SDK reconnects at once), "abort" by cutting the
        line (it notices after its ping_interval), "refresh" by Slack's disconnect message (it moves)."""
        dropped = list(self.sockets.items())
        for socket, transport in dropped:
            self._forget(socket)
            if how == "refresh":
                await socket.send_json({"type": "disconnect", "reason": "refresh_requested"})
            elif how == "abort" and isinstance(transport, asyncio.WriteTransport):
                transport.abort()
            else:
                await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)


class SlackServer(SocketMode, SlackPosts, SlackSurfaces, WebApi):
    """A Slack workspace on 127.0.0.1 and the hands of a test in it; use as an async context manager.

    Of what is written, only the events in `subscriptions` are sent. With `echo` the bot gets its own
    messages, edits and deletions, too, as in Slack. `timing` is `ack_timeout` and `retry_gaps`.
    """

    def __init__(self, echo: bool = True, **timing: Any) -> None:
        super().__init__(**timing)
        self.echo = echo
        self.subscriptions = {"app_mention", *SUBSCRIPTION.values()}
        self.calls, self.errors, self.faults = [], [], []
        self.root_url = ""
        self._response_urls: dict[str, dict] = {}

    @property
    def api_url(self) -> str:
        return f"{self.root_url}/api/"

    async def __aenter__(self) -> "SlackServer":
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/api/{method}", self._serve_api)
        app.router.add_get("/link/", self._serve_socket)
        app.router.add_get("/files-pri/{file_id}/{name}", self._serve_file)
        app.router.add_get("/signin", self._serve_signin)
        app.router.add_post("/upload/{file_id}", self._serve_upload)
        app.router.add_post("/response/{ticket}", self._serve_response_url)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.root_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        deliveries = list(self._deliveries)
        for task in deliveries:
            task.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)
        await self.drop_connections()
        await self._runner.cleanup()

    def announce(self, channel_id: str, message: dict, subtype: str = "", old: dict | None = None) -> None:
        """Send the events that a new, changed or deleted message leads to."""
        kind, visible = self.kind(channel_id), _without_metadata(message)
        place = {"channel": channel_id, "event_ts": message["ts"]}
        if subtype:
            now = self.new_ts()
            place |= {"event_ts": now, "ts": now, "hidden": True}
            changed = {"message": visible} if subtype == "message_changed" else {"deleted_ts": message["ts"]}
            previous = {"previous_message": _without_metadata(old or message)}
            visible = {"type": "message", "subtype": subtype, **changed, **previous}
        is_own = message.get("bot_id") == self.bot_id
        is_mention = f"<@{self.bot_user_id}>" in message["text"] and kind != "im" and not is_own
        if is_mention and not subtype and "app_mention" in self.subscriptions:
            self._deliver(self._outer({**visible, **place, "type": "app_mention"}))
        if SUBSCRIPTION[kind] in self.subscriptions and (self.echo or not is_own):
            self._deliver(self._outer({**visible, **place, "channel_type": kind}))

    def _outer(self, payload: dict) -> dict:
        """An Events API request body around an event; a complete body only gets what it lacks."""
        if payload.get("type") == "url_verification":
            return payload
        body = payload if payload.get("type") == "event_callback" else {"event": payload}
        ids = {"team_id": self.team_id, "api_app_id": self.app_id, "event_id": f"Ev{next(self._numbers):08d}"}
        bot = {"team_id": self.team_id, "user_id": self.bot_user_id, "is_bot": True, "enterprise_id": None}
        authorizations = [bot | {"is_enterprise_install": False}]
        more = {"event_time": int(time.time()), "token": "verification", "authorizations": authorizations}
        return {"type": "event_callback", **ids, **more, **body}

    async def say(
        self,
        channel: str,
        text: str,
        user: str | None = None,
        thread_ts: str | None = None,
        files: list[tuple[str, bytes]] | None = None,
        mention: bool = False,
    ) -> dict:
        """A person writes. Stores the message and sends the events of it; returns the message."""
        user = user or self.user_id
        if user not in self.users:
            self.add_user(user, user)
        text = f"<@{self.bot_user_id}> {text}" if mention else text
        message = {"type": "message", "user": user, "text": text, "ts": self.new_ts(), "team": self.team_id}
        message |= {"client_msg_id": f"client-{next(self._numbers)}"}
        if thread_ts:
            message["thread_ts"] = thread_ts
        if files:
            message |= {"subtype": "file_share", "files": [self._add_file(user, *file) for file in files]}
        self.messages[channel].append(message)
        self.announce(channel, message)
        return message

    def _add_file(self, user: str, name: str, content: bytes) -> dict:
        file_id = f"F{next(self._numbers)}"
        self.files[file_id] = content
        url = f"{self.root_url}/files-pri/{file_id}/{name}"
        about = {"id": file_id, "name": name, "title": name, "user": user, "size": len(content)}
        kind = {"mimetype": _content_type(name), "filetype": name.rpartition(".")[2]}
        return {**about, **kind, "url_private": url, "url_private_download": url}

    async def event(self, payload: dict) -> dict:
        """Send any event, or a complete event_callback body. Returns the body sent; see `is_acked`."""
        body = self._outer(payload)
        self._deliver(body)
        return body

    async def slash(self, command: str, text: str, channel: str, user: str | None = None) -> dict | None:
        """A person types a slash command; returns its acknowledgement, None if none came in time."""
        payload, user = self.slash_fields(command, text, channel, user), user or self.user_id
        ack = await self._send(self._envelope("slash_commands", payload))
        if ack and ack.get("payload"):
            self._show_response(channel, user, ack["payload"])
        return ack

    def slash_fields(self, command: str, text: str, channel: str, user: str | None = None) -> dict:
        """What a slash command's request says."""
        user = user or self.user_id
        who = {"user_id": user, "user_name": self.users[user]["name"], "team_id": self.team_id}
        where = {"channel_id": channel, "channel_name": self.channels[channel].get("name", "directmessage")}
        about_app = {"api_app_id": self.app_id, "token": "verification", "is_enterprise_install": "false"}
        handles = self._interaction_handles(channel, user)
        return {"command": command, "text": text, **who, **where, **about_app, **handles}

    async def interact(self, payload: dict, channel: str | None = None) -> dict | None:
        """A person uses a button (give "actions") or another interactive part; returns the ack or None."""
        return await self._send(self._envelope("interactive", self.action_body(payload, channel)))

    def action_body(self, payload: dict, channel: str | None = None) -> dict:
        """What such a request says."""
        channel = channel or self.channel_id
        user = {"id": self.user_id, "team_id": self.team_id}
        place = {"user": user, "team": {"id": self.team_id}, "channel": {"id": channel}}
        body = {"type": "block_actions", "api_app_id": self.app_id, "token": "verification", **place}
        handles = self._interaction_handles(channel, self.user_id)
        return {**body, **handles, **payload}

    def _interaction_handles(self, channel_id: str, user: str) -> dict:
        ticket = f"response-{next(self._numbers)}"
        self._response_urls[ticket] = {"channel": channel_id, "user": user, "uses": 0}
        return {"response_url": f"{self.root_url}/response/{ticket}", "trigger_id": f"trigger.{ticket}"}

    async def _serve_response_url(self, request: web.Request) -> web.Response:
        """A response_url: JSON by POST, no token, five uses."""
        target = self._response_urls.get(request.match_info["ticket"])
        if target is None or target["uses"] >= MAX_RESPONSE_URL_USES:
            return web.json_response({"ok": False, "error": "used_url"}, status=404)
        target["uses"] += 1
        self._show_response(target["channel"], target["user"], await request.json())
        return web.Response(text="ok")

    def _show_response(self, channel_id: str, user: str, body: dict) -> None:
        if body.get("response_type") == "in_channel" and not (body.get("text") or body.get("blocks")):
            echo = {"type": "message", "user": user, "text": "", "ts": self.new_ts()}
            self.messages[channel_id].append(echo)  # Slack shows the command itself
        elif body.get("response_type") == "in_channel":
            content = {key: body[key] for key in ("text", "blocks", "thread_ts") if key in body}
            self._add_bot_message(channel_id, content)
        else:
            self.ephemeral.append({"channel": channel_id, "user": user, **body})

    def fail_next(
        self,
        method: str,
        error: str | None = None,
        *,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        times: int = 1,
        after: bool = False,
        delay: float = 0,
        content_type: str = "text/plain",
    ) -> None:
        """Let the next calls of a method fail: with an `error` code ("ratelimited" is a 429 with Retry-After
        1), with an HTTP `status` and a proxy's page of `content_type`, or, without both, by a dropped
        connection. `after` does the work first; `delay` (seconds) comes before all of it."""
        self.faults.append(Fault(method, error, status, headers or {}, times, after, delay, content_type))

    async def wait_for(self, predicate: Callable[[], Any], timeout: float = 5.0) -> Any:
        """Return the predicate's first true value, looking every 10 ms; fail after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not (value := predicate()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout} s; calls {self.calls[-5:]}, errors {self.errors}")
            await asyncio.sleep(0.01)
        return value

    async def post_event(
        self,
        url: str,
        payload: dict,
        *,
        timestamp: str | int | None = None,
        secret: str | None = None,
        retry: int = 0,
    ) -> Answer:
        """HTTP mode: POST an event, a complete body or a url_verification, signed, to the app's URL."""
        body = json.dumps(self._outer(payload))
        headers = {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": "http_timeout"} if retry else {}
        signed = {"timestamp": timestamp, "secret": secret, "headers": headers}
        return Answer(*await self.post_signed(url, body, "application/json", **signed))


def _content_type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _without_metadata(message: dict) -> dict:
    return {key: value for key, value in message.items() if key != "metadata"}


def _is_true(value: Any) -> bool:
    return value in (True, "1", "true", "True")


async def _read_arguments(request: web.Request) -> dict:
    """Arguments from the query, a form or a JSON body; nested ones are JSON text in a form."""
    args: dict = dict(request.query)
    if request.content_type == "application/json":
        args |= await request.json()
    else:
        args |= await request.post()
    for key in ("blocks", "metadata", "attachments"):
        if isinstance(args.get(key), str):
            args[key] = json.loads(args[key])
    return args
