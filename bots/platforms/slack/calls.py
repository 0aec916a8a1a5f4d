"""Calls of Slack's Web API: whose token, at which pace, and Slack's errors as ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from bots import login
from bots.adapter import confirm
from bots.errors import PlatformBusy, PlatformRefused, WrongToken
from bots.login import Login
from bots.message import Message
from bots.platforms.slack.pace import Pace

TokenOf = Callable[[str, str], Awaitable[str | None]]
"""The bot's token in a workspace of an enterprise, whose id is empty outside of Enterprise Grid; None where
the bot is not installed. With two empty ids it is the token from the settings, or None."""

_BUSY = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
# What is wrong with a token; anything else that Slack says at the start may pass.
TOKEN_ERRORS = frozenset(
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
NO_ANSWER = (SlackClientError, aiohttp.ClientError, OSError, AttributeError, ValueError)
_SECONDS = 30
# So many clients are kept, one a token and workspace.
_MOST_CLIENTS = 1_000


class Calls:
    """Every call that the sending half makes."""

    def __init__(self, token_of: TokenOf, api_url: str, pace: Pace) -> None:
        self._token_of, self._api_url = token_of, api_url
        self._login = Login(self._log_in)
        self._pace = pace
        self._clients: dict[tuple[str, str | None], AsyncWebClient] = {}
        self._users: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Check the token from the settings, if there is one. Raises `WrongToken` and `PlatformBusy`."""
        await self._login.now()

    async def _log_in(self) -> None:
        if token := await self._token_of("", ""):
            self._note(token, await check_bot_token(self._client(token)))

    def _note(self, token: str, about: Mapping[str, Any]) -> None:
        self._users[token] = str(about["user_id"])
        self._addresses[str(about.get("team_id"))] = str(about.get("url") or "")

    async def call(self, message: Message, method: str, **arguments: Any) -> Mapping[str, Any]:
        """Call `method`, as the SDK writes it, where `message` came from.

        Raises `PlatformBusy`, at once while Slack wants no such call in that channel, and `PlatformRefused`
        with Slack's reason.
        """
        client = await self._client_of(message)
        place = _place(message, method, arguments)
        await self._pace.wait(*place)
        await confirm()
        try:
            return dict((await getattr(client, method)(**arguments)).data)
        except NO_ANSWER as error:
            if is_limit(error):
                await self._pace.hold(*place, busy(error).retry_after)
            raise _ours(error, method) from error

    async def expect_turn(self, message: Message) -> None:
        """Raise `PlatformBusy` where a post in the message's channel would have to come again: before what
        would be done for nothing then.
        """
        place = _place(message, "chat_postMessage", {"channel": message.conversation.channel})
        await self._pace.expect(*place)

    def can_spare(self, message: Message, method: str) -> bool:
        """Whether `method` may be called in the message's channel for what nobody would miss."""
        return self._pace.can_spare(*_place(message, method, {"channel": message.conversation.channel}))

    def is_held(self, message: Message, method: str) -> bool:
        """Whether Slack wants no such call in the message's channel now."""
        return self._pace.is_held(*_place(message, method, {"channel": message.conversation.channel}))

    async def user(self, message: Message) -> str:
        """The bot's own user id there."""
        token = await self.token(message)
        if token not in self._users:
            self._note(token, await self.call(message, "auth_test"))
        return self._users[token]

    async def token(self, message: Message) -> str:
        """Raises `PlatformRefused` where the bot is not installed."""
        await self._login.ensure()
        enterprise = message.address.get("enterprise", "")
        if token := await self._token_of(message.conversation.workspace, enterprise):
            return token
        raise PlatformRefused(f"the bot is not installed in the Slack workspace {_workspace(message)}")

    def link(self, message: Message) -> str:
        """Where people find the message, or at least its channel."""
        workspace, channel = message.conversation.workspace, message.conversation.channel
        ts = message.conversation.thread.replace(".", "")
        if ts and (address := self._addresses.get(workspace)):
            return f"{address.rstrip('/')}/archives/{channel}/p{ts}"
        return f"https://app.slack.com/client/{workspace}/{channel}"

    def session(self) -> aiohttp.ClientSession:
        """One for all: connections are kept between calls."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS))
        return self._session

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()

    async def _client_of(self, message: Message) -> AsyncWebClient:
        # The token of a whole organisation does not say which workspace is meant.
        team = message.conversation.workspace if message.address.get("enterprise") else None
        return self._client(await self.token(message), team)

    def _client(self, token: str, team: str | None = None) -> AsyncWebClient:
        if (token, team) not in self._clients:
            if len(self._clients) >= _MOST_CLIENTS:
                self._clients.pop(next(iter(self._clients)))
            # No retries by the SDK: a post whose answer is lost would be posted twice.
            self._clients[token, team] = AsyncWebClient(
                token, base_url=self._api_url, team_id=team, retry_handlers=[]
            )
        client = self._clients[token, team]
        client.session = self.session()
        return client


def _place(message: Message, method: str, arguments: Mapping[str, Any]) -> tuple[str, str, str]:
    channel = arguments.get("channel") or arguments.get("channel_id") or ""
    return message.conversation.workspace, method, channel


def _workspace(message: Message) -> str:
    enterprise = message.address.get("enterprise", "")
    return (
        f"{message.conversation.workspace} of {enterprise}" if enterprise else message.conversation.workspace
    )


def _ours(error: Exception, method: str) -> PlatformBusy | PlatformRefused:
    if may_pass(error):
        return busy(error)
    fields = answer(error)[1]
    reason = fields["error"]
    if reason == "missing_scope" and not method.startswith("chat_"):  # texts wait, all else is done without
        return PlatformRefused(f"the bot needs the scope {fields.get('needed')}", reason=reason)
    if reason in TOKEN_ERRORS:  # revoked meanwhile: the message waits until that is mended
        return PlatformBusy(f"Slack: {reason}", retry_after=login.WRONG_TOKEN_SECONDS)
    return PlatformRefused(f"Slack refuses: {reason}", reason=reason)


async def check_bot_token(client: AsyncWebClient) -> Any:
    """Who the bot is. Raises `WrongToken`, and `PlatformBusy` when Slack cannot be asked."""
    advice = "copy it again from OAuth & Permissions into FRONTDESK_SLACK_BOT_TOKEN."
    return await check_token(client.auth_test(), "bot token", advice)


async def check_token(call: Awaitable[Any], name: str, advice: str) -> Any:
    """The answer's fields. Raises `WrongToken` when the token is to blame, else `PlatformBusy`."""
    try:
        return (await call).data
    except NO_ANSWER as error:
        _, fields = answer(error)
        if (reason := fields.get("error")) not in TOKEN_ERRORS:
            raise busy(error) from error
        needed = f": {fields['needed']}" if fields.get("needed") else ""
        raise WrongToken(f"Slack does not accept the {name} ({reason}{needed}): {advice}") from error


def answer(error: Exception) -> tuple[int, dict[str, Any]]:
    """The HTTP status, 0 without an answer, and what Slack said: nothing where a proxy answers itself."""
    response = getattr(error, "response", None)  # the SDK's, or aiohttp's when the body is no JSON
    status = getattr(response, "status_code", 0) or getattr(response, "status", 0)
    data = getattr(response, "data", None)
    return status, data if isinstance(data, dict) else {}


def may_pass(error: Exception) -> bool:
    """Whether it may work later; when Slack itself gives a reason of another kind, it never will."""
    status, fields = answer(error)
    reason = fields.get("error")
    return not reason or reason in _BUSY or status == 429 or status >= 500


def busy(error: Exception) -> PlatformBusy:
    status, fields = answer(error)
    if not status:
        return PlatformBusy(f"Slack cannot be reached: {error}")
    wait = str(vars(error)["response"].headers.get("Retry-After", ""))
    return PlatformBusy(
        f"Slack is busy: {fields.get('error') or f'status {status}'}",
        retry_after=int(wait) if wait.isdecimal() else 1,  # a proxy may give a date there
    )


def is_limit(error: Exception) -> bool:
    """Whether Slack did nothing, since it was asked too often."""
    status, fields = answer(error)
    return status == 429 or fields.get("error") in ("ratelimited", "rate_limited")
