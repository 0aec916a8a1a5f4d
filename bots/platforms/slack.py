"""Slack: mentions, direct messages and replies in threads, through slack-bolt in Socket Mode.

Bolt acknowledges an event when its listener has returned (`process_before_response`): a listener only
stores, so an event is acknowledged once it is safe, and delivered again if it is not.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import aiohttp
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from bots.adapter import MAX_ATTACHMENT_BYTES, Receive, text_attachment, too_large
from bots.errors import PlatformBusy, PlatformRefused, WrongToken
from bots.message import Attachment, Author, ConversationKey, Message, Reply
from engine.log import logger

log = logger("bots.slack")

_METADATA = "frontdesk_turn"
# Ordinary messages; edits, joins and the like have other subtypes.
_SUBTYPES = frozenset({None, "file_share", "thread_broadcast"})
_BUSY = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
_LINK = re.compile(r"<(?:mailto:|tel:)?([^@#!>|][^>|]*)(?:\|([^>]*))?>")
_DOWNLOAD_SECONDS = 20


class SlackReceiver:
    """The receiving half: a Socket Mode connection that turns events into messages."""

    def __init__(
        self,
        bot_token: str,
        app_token: str,
        api_url: str,
        receive: Receive,
        auto_channels: Collection[str] = (),
    ) -> None:
        self._bot_token, self._app_token = bot_token, app_token
        self._receive, self._auto_channels = receive, frozenset(auto_channels)
        self._client = AsyncWebClient(bot_token, base_url=api_url)
        # A read that was rate-limited may be repeated; posts are not made here.
        self._client.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=2))
        self._bot_user = ""
        self._app = AsyncApp(client=self._client, process_before_response=True)
        self._app.event("app_mention")(self._on_mention)
        self._app.event("message")(self._on_message)

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
        try:
            await self._client.apps_connections_open(app_token=self._app_token)
        except SlackApiError as error:
            raise WrongToken(
                f"Slack does not accept the app-level token ({error.response['error']}): make one with the "
                "scope connections:write under Basic Information, and put it into FRONTDESK_SLACK_APP_TOKEN."
            ) from error
        except (SlackClientError, aiohttp.ClientError, OSError) as error:
            raise PlatformBusy(f"Slack cannot be reached: {error}") from error

    async def _on_mention(self, event: dict[str, Any], body: dict[str, Any]) -> None:
        """Somebody mentions the bot in a channel."""
        await self._accept(event, body)

    async def _on_message(self, event: dict[str, Any], body: dict[str, Any]) -> None:
        """A message that the bot can see: direct, in an automatic channel, or an answer to the bot.

        A mention arrives as both events; whichever comes first is taken, and the other has its claim.
        """
        if event.get("subtype") not in _SUBTYPES or event.get("bot_id"):
            return
        is_direct = event.get("channel_type") == "im"
        is_automatic = event["channel"] in self._auto_channels
        is_reply = event.get("parent_user_id") == self._bot_user
        is_mention = f"<@{self._bot_user}>" in event.get("text", "")
        if is_direct or is_automatic or is_reply or is_mention:
            await self._accept(event, body)

    async def _accept(self, event: dict[str, Any], body: dict[str, Any]) -> None:
        if event.get("bot_id") or not event.get("user"):
            return
        team, channel, ts = body.get("team_id") or event.get("team", ""), event["channel"], event["ts"]
        is_direct = event.get("channel_type") == "im" or channel.startswith("D")
        thread = event.get("thread_ts") or ("" if is_direct else ts)
        message = Message(
            id=f"slack:{team}:{channel}:{ts}",
            conversation=ConversationKey("slack", team, channel, thread),
            author=Author(event["user"]),
            text=plain_text(event.get("text", ""), self._bot_user),
            is_private=is_direct,
            attachments=tuple([await self._attachment(found) for found in event.get("files") or ()]),
        )
        client_id = event.get("client_msg_id")
        also = [f"slack:event:{body['event_id']}"] if body.get("event_id") else []
        await self._receive(message, [*also, *([f"slack:client:{team}:{client_id}"] if client_id else [])])

    async def _attachment(self, found: dict[str, Any]) -> Attachment:
        """The file's text; Slack wants the bot's token for it."""
        name = str(found.get("name") or found.get("id"))
        if found.get("size", 0) > MAX_ATTACHMENT_BYTES:
            return too_large(name)
        try:
            timeout = aiohttp.ClientTimeout(total=_DOWNLOAD_SECONDS)
            headers = {"Authorization": f"Bearer {self._bot_token}"}
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(found["url_private"], headers=headers, allow_redirects=False) as response,
            ):
                # Without the right to read files Slack sends its sign-in page, with status 200 or a redirect.
                if response.status != 200 or "text/html" in response.headers.get("Content-Type", ""):
                    raise aiohttp.ClientError(f"status {response.status}")
                return text_attachment(name, await response.content.read(MAX_ATTACHMENT_BYTES + 1))
        except (aiohttp.ClientError, TimeoutError, KeyError) as error:
            log.warning("a file could not be fetched; its author is told", reason=str(error))
            return Attachment(
                name, problem=f"I could not fetch {name}; the bot may need the scope files:read."
            )


class SlackSender:
    """The sending half."""

    # chat.update refuses texts over 4,000 characters; escaping makes a text longer, so there is room.
    limit = 3000
    edit_seconds = 1.2
    shows_citations = False

    def __init__(self, bot_token: str, api_url: str) -> None:
        # No retries by the SDK: a post whose answer is lost would be posted twice.
        self._client = AsyncWebClient(bot_token, base_url=api_url, retry_handlers=[])

    async def open(self) -> None:
        """Check the token. Raises `WrongToken`, and `PlatformBusy` when Slack cannot be reached."""
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

    async def edit(self, message: Message, ref: str, text: str) -> None:
        channel = message.conversation.channel
        await self._call(self._client.chat_update, channel=channel, ts=ref, text=escape(text))

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
        try:
            return await method(**arguments)
        except SlackApiError as error:
            reason = error.response.get("error") or f"status {error.response.status_code}"
            if error.response.status_code == 429 or error.response.status_code >= 500 or reason in _BUSY:
                seconds = float(error.response.headers.get("Retry-After") or 1)
                raise PlatformBusy(f"Slack is busy: {reason}", retry_after=seconds) from error
            raise PlatformRefused(f"Slack refuses: {reason}") from error
        except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PlatformBusy("Slack cannot be reached") from error


async def check_bot_token(client: AsyncWebClient) -> Any:
    """Who the bot is. Raises `WrongToken`, and `PlatformBusy` when Slack cannot be reached."""
    try:
        return (await client.auth_test()).data
    except SlackApiError as error:
        raise WrongToken(
            f"Slack does not accept the bot token ({error.response['error']}): copy it again from OAuth & "
            "Permissions into FRONTDESK_SLACK_BOT_TOKEN."
        ) from error
    except (SlackClientError, aiohttp.ClientError, OSError) as error:
        raise PlatformBusy(f"Slack cannot be reached: {error}") from error


def plain_text(text: str, bot_user: str) -> str:
    """What was typed: the bot's mention taken out, links as they were written, entities decoded."""
    text = text.replace(f"<@{bot_user}>", " ")
    text = _LINK.sub(lambda match: match[2] or match[1], text)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return re.sub(r" {2,}", " ", text).strip()


def escape(text: str) -> str:
    """Slack's three special characters, so that no text of ours becomes a mention, a link or a command."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
