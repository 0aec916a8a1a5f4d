"""Slack: mentions, direct messages, threads and commands, through slack-bolt, by Socket Mode or HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_bolt.oauth.async_oauth_flow import AsyncOAuthFlow
from slack_bolt.oauth.async_oauth_settings import AsyncOAuthSettings
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from bots.adapter import Receiver, Sender
from bots.errors import PlatformBusy, StartError
from bots.platforms.slack.http import HttpServer
from bots.platforms.slack.installations import STATE_SECONDS, Installations, OAuthStates
from bots.platforms.slack.manifest import INSTALL_PATH, REDIRECT_PATH, SCOPES, manifest
from bots.platforms.slack.receiver import Line, SlackReceiver
from bots.platforms.slack.sender import SlackSender
from bots.platforms.slack.socket_mode import SILENT_SECONDS, SocketMode
from bots.platforms.slack.text import plain_text
from bots.platforms.slack.workspaces import Workspaces
from bots.pulse import Pulse
from bots.registry import Registry
from bots.settings import Settings, secret
from engine.log import logger

if TYPE_CHECKING:
    from bots.build import Store

__all__ = ["SlackReceiver", "SlackSender", "make_receiver", "manifest", "open_sender", "plain_text"]

log = logger("bots.slack")


def make_receiver(
    settings: Settings,
    store: Store,
    registry: Registry,
    pulse: Pulse,
    *,
    silent_seconds: float = SILENT_SECONDS,
) -> Receiver:
    """See `bots.platforms.Platform`. With an app-level token by Socket Mode, else by HTTP.

    Parameters
      silent_seconds: how long a socket may say nothing before it counts as dead
    """
    client = _client(settings)
    workspaces = _workspaces(settings, store)
    app_token, signing_secret = secret(settings.slack_app_token), secret(settings.slack_signing_secret)
    lines: list[Line] = []
    if app_token:
        lines.append(SocketMode(app_token, pulse, silent_seconds=silent_seconds))
    elif not signing_secret:
        raise StartError(
            "Slack needs FRONTDESK_SLACK_APP_TOKEN for Socket Mode, or FRONTDESK_SLACK_SIGNING_SECRET "
            "for HTTP"
        )
    flow = _oauth_flow(settings, store, client) if settings.slack_client_id else None
    if flow or not app_token:
        secret_for_events = None if app_token else signing_secret
        lines.append(HttpServer(settings.slack_host, settings.slack_port, pulse, secret_for_events, flow))
    return SlackReceiver(
        client,
        workspaces,
        lines,
        store.intake,
        pulse,
        signing_secret=signing_secret or "",
        commands=registry.commands,
        persona=settings.persona,
        suggestions=settings.suggestions,
        auto_channels=settings.auto_channels_of("slack"),
        knows=store.history.has,
    )


async def open_sender(settings: Settings, store: Store) -> Sender:
    """See `bots.platforms.Platform`."""
    workspaces = _workspaces(settings, store)
    sender = SlackSender(workspaces.token_of, settings.slack_api_url, store.redis)
    try:
        await sender.open()
    except PlatformBusy as error:
        log.warning("Slack is tried again with the first answer", reason=str(error))
    except BaseException:
        await sender.close()
        raise
    return sender


def _client(settings: Settings, token: str | None = None) -> AsyncWebClient:
    client = AsyncWebClient(token, base_url=settings.slack_api_url)
    # A read that was rate-limited may be repeated; answers are not posted with this client.
    client.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=2))
    return client


def _workspaces(settings: Settings, store: Store) -> Workspaces:
    token = secret(settings.slack_bot_token)
    if token is None and settings.slack_client_id is None:
        raise StartError("there is no Slack token: set FRONTDESK_SLACK_BOT_TOKEN")
    is_oauth = settings.slack_client_id is not None
    installations = Installations(store.redis, store.envelope) if is_oauth else None
    return Workspaces(_client(settings, token), token, installations)


def _oauth_flow(settings: Settings, store: Store, client: AsyncWebClient) -> AsyncOAuthFlow:
    """The pages that put the app into a workspace. Raises `StartError` for what it lacks."""
    if settings.public_url is None:
        raise StartError("installing by OAuth needs FRONTDESK_PUBLIC_URL, where Slack sends people back to")
    if settings.slack_client_secret is None:
        raise StartError("installing by OAuth needs FRONTDESK_SLACK_CLIENT_SECRET beside the client id")
    public = settings.public_url.rstrip("/")
    return AsyncOAuthFlow(
        client=client,
        settings=AsyncOAuthSettings(
            client_id=settings.slack_client_id,
            client_secret=secret(settings.slack_client_secret),
            scopes=list(SCOPES),
            user_scopes=[],
            redirect_uri=f"{public}{REDIRECT_PATH}",
            install_path=INSTALL_PATH,
            redirect_uri_path=REDIRECT_PATH,
            installation_store=Installations(store.redis, store.envelope),
            state_store=OAuthStates(store.redis, store.envelope),
            state_expiration_seconds=STATE_SECONDS,
        ),
    )
