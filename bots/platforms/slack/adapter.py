"""Slack: mentions, direct messages and replies in threads, through slack-bolt in Socket Mode.

Bolt acknowledges an event when its listener has returned (`process_before_response`): a listener only
stores, so an event is acknowledged once it is safe, and delivered again if it is not.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import aiohttp
import yarl
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackClientError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from bots import login
from bots.adapter import MAX_ATTACHMENT_BYTES, Receive
from bots.errors import FileRefused, PlatformBusy, PlatformRefused, WrongToken
from bots.login import Login
from bots.message import Attachment, Author, ConversationKey, Message, Provisional, Reply
from engine.log import logger

log = logger("bots.slack")

_METADATA = "frontdesk_turn"
# Ordinary messages; edits, joins and the like have other subtypes.
_SUBTYPES = frozenset({None, "file_share", "thread_broadcast"})
_BUSY = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
# What is wrong with a token; anything else that Slack says at the start may pass.
_TOKEN_ERRORS = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "not_allowed_token_type",
        "missing_scope",
    }
)
# What the SDK raises without an answer from Slack; the last two over a body that is no JSON object.
_NO_ANSWER = (SlackClientError, aiohttp.ClientError, OSError, AttributeError, ValueError)
_WRAPPED = re.compile(r"<([@#!]?)([^<>|]+)(?:\|([^<>]*))?>")
# chat.update refuses texts over 4,000 characters.
_MOST_CHARACTERS = 3900
# What is escaped, from the usual to the least: all special characters, those that can begin anything (no
# sequence without `<`), and those that begin a mention, a command or a link.
_SPECIAL = (
    re.compile(r"[&<>]"),
    re.compile(r"<|&(?=(?:amp|lt|gt);)"),
    re.compile(r"<(?=\s*[@#!]|[^>]*[:|])|&(?=(?:amp|lt|gt);)"),
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_DOWNLOAD_SECONDS = 60
# Buttons that ask an option of a question back, and how long Slack lets their parts be.
_OPTION = "frontdesk_option_"
_LONGEST_LABEL, _LONGEST_VALUE, _LONGEST_SECTION = 75, 2000, 3000


class SlackReceiver:
    """The receiving half: a Socket Mode connection that turns events into messages."""

    def __init__(
        self,
        bot_token: str,
        app_token: str,
        api_url: str,
        receive: Receive,
        auto_channels: Collection[str] = (),
        *,
        knows: Callable[[ConversationKey], Awaitable[bool]],
    ) -> None:
        """`knows` says whether the bot has answered in a conversation before."""
        self._app_token = app_token
        self._receive, self._auto_channels, self._knows = receive, frozenset(auto_channels), knows
        self._client = AsyncWebClient(bot_token, base_url=api_url)
        # A read that was rate-limited may be repeated; posts are not made here.
        self._client.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=2))
        self._bot_user = ""
        # Bolt's own logger takes the root's level; this one keeps to warnings.
        quiet = logging.getLogger("slack_bolt")
        self._app = AsyncApp(client=self._client, process_before_response=True, logger=quiet)
        self._app.event("app_mention")(self._on_mention)
        self._app.event("message")(self._on_message)
        self._app.action(re.compile(_OPTION))(self._on_option)

    async def run_forever(self) -> None:
        """Connect and receive until cancelled. Raises `WrongToken` or `PlatformBusy`."""
        await self._check_tokens()
        handler = AsyncSocketModeHandler(self._app, self._app_token)
        try:
            await handler.connect_async()  # type: ignore[no-untyped-call]
            log.info("Slack is connected")
            await asyncio.Event().wait()
        finally:
            await handler.close_async()  # type: ignore[no-untyped-call]

    async def _check_tokens(self) -> None:
        """Ask before connecting: the Socket Mode client would try a wrong token again for ever."""
        self._bot_user = (await check_bot_token(self._client))["user_id"]
        advice = (
            "make one with the scope connections:write under Basic Information, and put it into "
            "FRONTDESK_SLACK_APP_TOKEN."
        )
        opening = self._client.apps_connections_open(app_token=self._app_token)
        await _check_token(opening, "app-level token", advice)

    async def _on_mention(self, event: dict[str, Any], body: dict[str, Any]) -> None:
        """Somebody mentions the bot in a channel."""
        await self._accept(event, body)

    async def _on_message(self, event: dict[str, Any], body: dict[str, Any]) -> None:
        """A message that the bot can see: direct, in an automatic channel, or an answer to the bot.

        A mention arrives as both events; whichever comes first is taken, and the other has its claim.
        """
        if event.get("subtype") not in _SUBTYPES or event.get("bot_id"):
            return
        is_automatic = event["channel"] in self._auto_channels
        is_mention = bool(_mention(self._bot_user).search(event.get("text") or ""))
        if _is_direct(event) or is_automatic or is_mention or await self._is_reply(event, body):
            await self._accept(event, body)

    async def _on_option(self, ack: Any, action: dict[str, Any], body: dict[str, Any]) -> None:
        """A button of a question back: its option is asked, where the button stands."""
        post = body.get("message") or body["container"]
        event = {
            "ts": str(post.get("ts") or post.get("message_ts")),
            "channel": body["channel"]["id"],
            "thread_ts": post.get("thread_ts"),
        }
        team = (body.get("team") or {}).get("id") or body["user"]["team_id"]
        conversation = _conversation(event, {"team_id": team})
        message = Message(
            id=f"slack:{team}:{conversation.channel}:{action['action_ts']}",
            conversation=conversation,
            author=Author(body["user"]["id"]),
            text=action["value"],
            is_private=_is_direct(event),
        )
        await self._receive(message, ())
        await ack()

    async def _is_reply(self, event: dict[str, Any], body: dict[str, Any]) -> bool:
        """Whether this continues what the bot has begun or answered; most threads are a customer's own."""
        if not event.get("thread_ts") or not event.get("user"):
            return False
        return event.get("parent_user_id") == self._bot_user or await self._knows(_conversation(event, body))

    async def _accept(self, event: dict[str, Any], body: dict[str, Any]) -> None:
        if event.get("bot_id") or not event.get("user"):
            return
        conversation = _conversation(event, body)
        team, client_id = conversation.workspace, event.get("client_msg_id")
        message = Message(
            id=f"slack:{team}:{conversation.channel}:{event['ts']}",
            conversation=conversation,
            author=Author(event["user"]),
            text=plain_text(event.get("text") or "", self._bot_user),
            is_private=_is_direct(event),
            attachments=tuple(_attachment(found) for found in event.get("files") or ()),
        )
        also = [f"slack:event:{body['event_id']}"] if body.get("event_id") else []
        await self._receive(message, [*also, *([f"slack:client:{team}:{client_id}"] if client_id else [])])


class SlackSender:
    """The sending half."""

    # Escaping makes a text longer: there is room up to `_MOST_CHARACTERS`, see `escape`.
    limit = 3000
    edit_seconds = 1.2
    shows_citations = False

    def __init__(self, bot_token: str, api_url: str) -> None:
        # No retries by the SDK: a post whose answer is lost would be posted twice.
        self._client = AsyncWebClient(bot_token, base_url=api_url, retry_handlers=[])
        self._api_url = yarl.URL(api_url)
        self._login = Login(self._log_in)

    async def open(self) -> None:
        """Check the token. Raises `WrongToken`, and `PlatformBusy` when Slack cannot be reached: then it
        may be called again, and the first post does so.
        """
        await self._login.now()

    async def _log_in(self) -> None:
        await check_bot_token(self._client)

    async def typing(self, message: Message) -> None:
        """Slack shows none for bots outside of agent sessions."""

    async def post(self, message: Message, text: str, *, nonce: str, is_retry: bool) -> str:
        """Slack takes no idempotency key: before a second send the channel is searched for the first."""
        if is_retry and (found := await self._find(message, nonce)):
            return found
        sent = await self._call(
            self._client.chat_postMessage,
            channel=message.conversation.channel,
            thread_ts=message.conversation.thread or None,
            text=escape(text),
            metadata={"event_type": _METADATA, "event_payload": {"part": nonce}},
            unfurl_links=False,
            unfurl_media=False,
        )
        return str(sent["ts"])

    async def fetch(self, message: Message, file: Attachment) -> bytes:
        """A private file; Slack wants the bot's token for it."""
        try:
            url = yarl.URL(file.url)
            if not self._may_get_token(url):
                raise FileRefused("not_uploaded", f"it is not kept at Slack but at {url.host}")
            return await self._download(url)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise FileRefused("not_fetched", f"{error}; the bot may need the scope files:read") from error

    def _may_get_token(self, url: yarl.URL) -> bool:
        """Whoever adds a remote file chooses its address: the token goes to Slack alone."""
        if (url.scheme, url.host, url.port) == (self._api_url.scheme, self._api_url.host, self._api_url.port):
            return True
        return url.scheme == "https" and (f".{url.host}").endswith(".slack.com")

    async def _download(self, url: yarl.URL) -> bytes:
        """The file, or as much of it as shows that it is too large."""
        timeout, content = aiohttp.ClientTimeout(total=_DOWNLOAD_SECONDS), bytearray()
        headers = {"Authorization": f"Bearer {self._client.token}"}
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            # Without the right to read files Slack sends its sign-in page, with status 200 or a redirect.
            if response.status != 200 or "text/html" in response.headers.get("Content-Type", ""):
                raise aiohttp.ClientError(f"status {response.status}")
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > MAX_ATTACHMENT_BYTES:
                    break
        return bytes(content)

    async def progress(self, message: Message, provisional: Provisional) -> bool:
        return False

    async def edit(self, message: Message, ref: str, text: str) -> None:
        channel = message.conversation.channel
        await self._call(self._client.chat_update, channel=channel, ts=ref, text=escape(text))

    async def offer(self, message: Message, ref: str, text: str, options: Sequence[str]) -> None:
        """The text again as a block, and a button an option below it."""
        buttons = [
            {
                "type": "button",
                "action_id": f"{_OPTION}{number}",
                "text": {"type": "plain_text", "text": _cut(option, _LONGEST_LABEL), "emoji": False},
                "value": _cut(option, _LONGEST_VALUE),
            }
            for number, option in enumerate(options, 1)
        ]
        shown = {"type": "section", "text": {"type": "mrkdwn", "text": escape(text)[:_LONGEST_SECTION]}}
        await self._call(
            self._client.chat_update,
            channel=message.conversation.channel,
            ts=ref,
            text=escape(text),
            blocks=[shown, {"type": "actions", "elements": buttons}],
        )

    async def finish(self, message: Message, text: str, reply: Reply) -> None:
        """Citations are in the text already."""

    async def close(self) -> None:
        """The client opens a session a call."""

    async def _find(self, message: Message, nonce: str) -> str | None:
        """An earlier attempt's post, known by its metadata, among those since the question."""
        conversation, oldest = message.conversation, message.id.rpartition(":")[2]
        where: dict[str, Any] = {"channel": conversation.channel, "oldest": oldest, "limit": 200}
        read: Callable[..., Awaitable[Any]] = self._client.conversations_history
        if conversation.thread:
            where["ts"], read = conversation.thread, self._client.conversations_replies
        found = await self._call(read, **where, include_all_metadata=True)
        for post in found["messages"]:
            metadata = post.get("metadata") or {}
            if metadata.get("event_type") == _METADATA and metadata["event_payload"].get("part") == nonce:
                return str(post["ts"])
        return None

    async def _call(self, method: Callable[..., Awaitable[Any]], **arguments: Any) -> Any:
        """A Web API call; Slack's errors as ours: later, or never."""
        await self._login.ensure()
        try:
            return await method(**arguments)
        except _NO_ANSWER as error:
            if _may_pass(error):
                raise _busy(error) from error
            reason = _answer(error)[1]["error"]
            if reason in _TOKEN_ERRORS:  # revoked meanwhile: the message waits until that is mended
                raise PlatformBusy(f"Slack: {reason}", retry_after=login.WRONG_TOKEN_SECONDS) from error
            raise PlatformRefused(f"Slack refuses: {reason}") from error


async def check_bot_token(client: AsyncWebClient) -> Any:
    """Who the bot is. Raises `WrongToken`, and `PlatformBusy` when Slack cannot be asked."""
    advice = "copy it again from OAuth & Permissions into FRONTDESK_SLACK_BOT_TOKEN."
    return await _check_token(client.auth_test(), "bot token", advice)


async def _check_token(call: Awaitable[Any], name: str, advice: str) -> Any:
    """The answer's fields. Raises `WrongToken` when the token is to blame, else `PlatformBusy`."""
    try:
        return (await call).data
    except _NO_ANSWER as error:
        _, fields = _answer(error)
        if (reason := fields.get("error")) not in _TOKEN_ERRORS:
            raise _busy(error) from error
        needed = f": {fields['needed']}" if fields.get("needed") else ""
        raise WrongToken(f"Slack does not accept the {name} ({reason}{needed}): {advice}") from error


def _answer(error: Exception) -> tuple[int, dict[str, Any]]:
    """The HTTP status, 0 without an answer, and what Slack said: nothing where a proxy answers itself."""
    response = getattr(error, "response", None)  # the SDK's, or aiohttp's when the body is no JSON
    status = getattr(response, "status_code", 0) or getattr(response, "status", 0)
    data = getattr(response, "data", None)
    return status, data if isinstance(data, dict) else {}


def _may_pass(error: Exception) -> bool:
    """Whether it may work later; when Slack itself gives a reason of another kind, it never will."""
    status, fields = _answer(error)
    reason = fields.get("error")
    return not reason or reason in _BUSY or status == 429 or status >= 500


def _busy(error: Exception) -> PlatformBusy:
    status, fields = _answer(error)
    if not status:
        return PlatformBusy(f"Slack cannot be reached: {error}")
    wait = str(vars(error)["response"].headers.get("Retry-After", ""))
    return PlatformBusy(
        f"Slack is busy: {fields.get('error') or f'status {status}'}",
        retry_after=int(wait) if wait.isdecimal() else 1,  # a proxy may give a date there
    )


def _is_direct(event: dict[str, Any]) -> bool:
    """Whether nobody else reads along."""
    return event.get("channel_type") == "im" or str(event["channel"]).startswith("D")


def _conversation(event: dict[str, Any], body: dict[str, Any]) -> ConversationKey:
    """In channels every question has a thread of its own."""
    team = body.get("team_id") or event.get("team", "")
    thread = event.get("thread_ts") or ("" if _is_direct(event) else event["ts"])
    return ConversationKey("slack", team, event["channel"], thread)


def _attachment(found: dict[str, Any]) -> Attachment:
    """A file as Slack names it; a worker fetches it, for an event must be acknowledged within 3 seconds."""
    name, size = str(found.get("name") or found.get("id")), found.get("size") or 0
    if found.get("is_external") or found.get("mode") == "external":
        return Attachment(name, problem="not_uploaded")
    if not found.get("url_private"):
        return Attachment(name, problem="not_fetched")
    return Attachment(name, url=found["url_private"], size=size)


def _mention(user: str) -> re.Pattern[str]:
    return re.compile(rf" *<@{re.escape(user)}(?:\|[^<>]*)?> *")


def plain_text(text: str, bot_user: str) -> str:
    """What was typed: the bot's mentions taken out, links and names as they were shown, entities decoded."""
    text = _WRAPPED.sub(_unwrapped, _mention(bot_user).sub(" ", text))
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text.strip()


def _unwrapped(match: re.Match[str]) -> str:
    kind, target, label = match.groups()
    match kind:
        case "@" | "#":
            return f"{kind}{label or target}"
        case "!" if target in ("here", "channel", "everyone"):
            return f"@{target}"
        case "!":  # a group's name has its @ already, a date its words
            return label or f"@{target.rpartition('^')[2]}"
    return label or re.sub(r"^(?:mailto|tel):", "", target)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def escape(text: str) -> str:
    """Slack's three special characters, so that no text of ours becomes a mention, a link or a command.

    Each becomes up to five: code may grow beyond what Slack takes. Then only what could begin something is
    escaped, and what is still too long is cut, since nobody would see any of it otherwise.
    """
    escaped = text
    for special in _SPECIAL:
        escaped = special.sub(lambda found: _ENTITIES[found[0]], text)
        if len(escaped) <= _MOST_CHARACTERS:
            return escaped
    return re.sub(r"&[a-z]*$", "", escaped[: _MOST_CHARACTERS - 1]) + "…"
