"""What Slack says of the tokens, and what they lack of what the manifest asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp

from bots.finding import Finding, ok, warning, wrong
from bots.registry import Registry
from bots.settings import Settings, secret
from engine.log import clean

_SECONDS = aiohttp.ClientTimeout(total=15, connect=5)
_APPS = "https://api.slack.com/apps"
_MANIFEST = "`frontdesk doctor --slack-manifest`"


def slack_manifest(settings: Settings, registry: Registry) -> dict[str, Any]:
    """The app as Slack is to be told of it."""
    from bots.platforms.slack.manifest import manifest  # slack_bolt takes half a second

    return manifest(settings, registry)


async def examine_slack(settings: Settings, registry: Registry) -> AsyncIterator[Finding]:
    """The tokens, their scopes, and how events come."""
    if "slack" not in settings.platforms:
        yield ok(
            "slack", f"not configured: make an app at {_APPS} from {_MANIFEST}, install it, set its tokens"
        )
        return
    bot, app = secret(settings.slack_bot_token), secret(settings.slack_app_token)
    wanted = slack_manifest(settings, registry)["oauth_config"]["scopes"]["bot"]
    try:
        async with aiohttp.ClientSession(timeout=_SECONDS) as http:
            if bot is not None:
                said, scopes = await _call(http, settings, "auth.test", bot)
                for finding in _bot_token(said, scopes, wanted):
                    yield finding
            if app is not None:
                said, _ = await _call(http, settings, "apps.connections.open", app)
                yield _app_token(said)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        yield warning("slack", f"it cannot be reached ({type(error).__name__})", "try again")
    except ValueError:  # of the header, or an answer that is no JSON
        yield wrong("slack", "a token is none, or something else than Slack answers", "copy the tokens again")
    for finding in _addresses(settings):
        yield finding


async def _call(
    http: aiohttp.ClientSession, settings: Settings, method: str, token: str
) -> tuple[Mapping[str, Any], frozenset[str]]:
    """What a method says, and the scopes that the token has (docs.slack.dev/authentication)."""
    headers = {"Authorization": f"Bearer {token}"}
    async with http.post(f"{settings.slack_api_url.rstrip('/')}/{method}", headers=headers) as response:
        scopes = response.headers.get("x-oauth-scopes", "")
        said: Mapping[str, Any] = await response.json()
    return said, frozenset(scope.strip() for scope in scopes.split(",") if scope.strip())


def _bot_token(said: Mapping[str, Any], scopes: frozenset[str], wanted: list[str]) -> Iterator[Finding]:
    if not said.get("ok"):
        todo = f"copy the Bot User OAuth Token (xoxb-…) from {_APPS}, OAuth & Permissions"
        yield wrong("slack", f"it refuses the bot token: {clean(str(said.get('error')))}", todo)
        return
    yield ok("slack", f"bot token: {said.get('user')} in {said.get('team')}")
    if scopes and (missing := sorted(set(wanted) - scopes)):
        todo = f"update the app at {_APPS} from {_MANIFEST}, then install it again"
        yield wrong("slack", f"the bot token lacks the scopes {', '.join(missing)}", todo)


def _app_token(said: Mapping[str, Any]) -> Finding:
    if said.get("ok"):
        return ok("slack", "app-level token: Socket Mode")
    todo = f"make one (xapp-…) with connections:write at {_APPS}, Basic Information, App-Level Tokens"
    return wrong("slack", f"it refuses the app-level token: {clean(str(said.get('error')))}", todo)


def _addresses(settings: Settings) -> Iterator[Finding]:
    """What HTTP mode and the installation in several workspaces need: an address that Slack reaches."""
    needs = [
        what
        for what, is_used in (
            ("HTTP mode, without an app-level token,", settings.slack_app_token is None),
            ("several workspaces", settings.slack_client_id is not None),
        )
        if is_used
    ]
    if not needs:
        return
    if not (settings.public_url or "").startswith("https://"):
        why = f"{' and '.join(needs)} need an address that Slack can reach"
        yield wrong("slack", why, "set FRONTDESK_PUBLIC_URL to https://…")
    else:
        where = f"{settings.slack_host}:{settings.slack_port}"
        yield ok("slack", f"{settings.public_url} has to lead to {where} on this machine")
    if settings.slack_app_token is None and settings.slack_signing_secret is None:
        todo = "set FRONTDESK_SLACK_SIGNING_SECRET; it is at Basic Information"
        yield wrong("slack", "requests over HTTP cannot be checked without the signing secret", todo)
