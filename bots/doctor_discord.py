"""What Discord says of the token and its application, and the link that invites the bot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp

from bots.finding import Finding, ok, warning, wrong
from bots.settings import Settings, secret

_API = "https://discord.com/api/v10"
_SECONDS = aiohttp.ClientTimeout(total=15, connect=5)
_PORTAL = "https://discord.com/developers/applications"
# Application flags: GATEWAY_MESSAGE_CONTENT, and _LIMITED for bots in few servers.
# (docs.discord.com/developers/resources/application#application-flags)
_MESSAGE_CONTENT = 1 << 18 | 1 << 19
# docs.discord.com/developers/topics/permissions#bitwise-permission-flags
_PERMISSIONS = (
    1 << 10  # View Channels
    | 1 << 11  # Send Messages
    | 1 << 15  # Attach Files
    | 1 << 16  # Read Message History
    | 1 << 31  # Use Application Commands
    | 1 << 38  # Send Messages in Threads
)


def invite_link(application_id: str) -> str:
    """The page on which an administrator adds the bot to a server, with what it needs and no more."""
    query = {
        "client_id": application_id,
        "scope": "bot applications.commands",
        "permissions": str(_PERMISSIONS),
    }
    return f"https://discord.com/oauth2/authorize?{urlencode(query)}"


async def examine_discord(settings: Settings) -> AsyncIterator[Finding]:
    """The token, the application's switches, and the invite link."""
    token = secret(settings.discord_token)
    if token is None:
        yield ok(
            "discord", f"not configured: make an application at {_PORTAL} and set FRONTDESK_DISCORD_TOKEN"
        )
        return
    base = (settings.discord_api_url or _API).rstrip("/")
    try:
        async with aiohttp.ClientSession(timeout=_SECONDS, headers={"Authorization": f"Bot {token}"}) as http:
            status, user = await _get(http, f"{base}/users/@me")
            if status == 200:
                status, application = await _get(http, f"{base}/oauth2/applications/@me")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        yield warning("discord", f"it cannot be reached ({type(error).__name__})", "try again")
        return
    except ValueError:  # of the header: a line break, or a letter that no token has
        yield wrong("discord", "the token is none: it holds other characters", "copy it once more")
        return
    if status in (401, 403):
        todo = f"make a new one at {_PORTAL}, Bot, Reset Token, and set FRONTDESK_DISCORD_TOKEN"
        yield wrong("discord", "it refuses the token", todo)
    elif status != 200:
        yield warning("discord", f"it answers with status {status}", "try again later")
    else:
        yield ok("discord", f"logged in as {user.get('username')}")
        for finding in _application(settings, application):
            yield finding


async def _get(http: aiohttp.ClientSession, url: str) -> tuple[int, Mapping[str, Any]]:
    async with http.get(url) as response:
        return response.status, await response.json() if response.status == 200 else {}


def _application(settings: Settings, application: Mapping[str, Any]) -> Iterator[Finding]:
    portal = f"{_PORTAL}/{application['id']}"
    needs_content = settings.discord_message_content or bool(settings.auto_channels_of("discord"))
    if needs_content and not int(application.get("flags") or 0) & _MESSAGE_CONTENT:
        why = "threads without a mention and automatic channels need the message content intent"
        todo = f"switch on Message Content Intent at {portal}/bot, under Privileged Gateway Intents"
        yield wrong("discord", why, todo)
    if application.get("interactions_endpoint_url"):
        why = "commands and buttons go to an Interactions Endpoint URL instead of to frontdesk"
        yield wrong("discord", why, f"empty that field at {portal}/information")
    if application.get("bot_require_code_grant"):
        why = "the application demands a code grant, so that nobody can invite the bot"
        yield wrong("discord", why, f"switch off Requires OAuth2 Code Grant at {portal}/bot")
    yield ok("discord", f"invite it with {invite_link(str(application['id']))}")
