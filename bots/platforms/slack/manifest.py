"""The app manifest: what to paste at api.slack.com/apps, made from the settings and the plugins.

Slack's agent view (the Messages tab with sessions and a stop button) comes with it; the older assistant view
is not used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bots.commands import Command
from bots.platforms.slack.slash import asking, by_slash_name
from bots.platforms.slack.text import cut
from bots.registry import Registry
from bots.settings import Settings
from engine.language.phrases import say

EVENTS_PATH, INSTALL_PATH, REDIRECT_PATH = "/slack/events", "/slack/install", "/slack/oauth_redirect"
SCOPES = (
    "app_mentions:read",
    "assistant:write",
    "channels:history",
    "chat:write",
    "chat:write.public",  # answers to slash commands, in channels that the bot is no member of
    "commands",
    "files:read",
    "files:write",
    "groups:history",
    "im:history",
    "im:read",
    "im:write",
    "users:read",
)
EVENTS = (
    "agent_session_stopped",
    "app_home_opened",
    "app_mention",
    "message.channels",
    "message.groups",
    "message.im",
)
_OAUTH_EVENTS = ("app_uninstalled", "tokens_revoked")
# Slack's limits: characters of names and descriptions, commands of one app, and prompts of the agent.
_NAME, _DESCRIPTION, _COMMAND, _MOST_COMMANDS, _MOST_PROMPTS = 35, 140, 2000, 50, 4
_ABOUT = "Answers questions from our help pages, says where it found the answer, and calls a colleague."


def manifest(settings: Settings, registry: Registry) -> dict[str, Any]:
    """The manifest as Slack takes it, as JSON or YAML.

    By Socket Mode unless there is no app-level token but a public address: then requests come there.
    """
    is_socket_mode = settings.slack_app_token is not None or settings.public_url is None
    url = None if is_socket_mode else f"{_public(settings)}{EVENTS_PATH}"
    is_oauth = settings.slack_client_id is not None
    request_url = {"request_url": url} if url else {}
    redirects = [f"{_public(settings)}{REDIRECT_PATH}"] if is_oauth and settings.public_url else []
    name = cut(settings.persona, _NAME)
    return {
        "display_information": {"name": name, "description": cut(_ABOUT, _DESCRIPTION)},
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": name, "always_online": True},
            "agent_view": {
                "agent_description": _ABOUT,
                "suggested_prompts": [
                    {"title": text, "message": text} for text in settings.suggestions[:_MOST_PROMPTS]
                ],
            },
            "slash_commands": _slash_commands(registry.commands.values(), url),
        },
        "oauth_config": {
            **({"redirect_urls": redirects} if redirects else {}),
            "scopes": {"bot": list(SCOPES)},
        },
        "settings": {
            "event_subscriptions": {
                **request_url,
                "bot_events": sorted([*EVENTS, *(_OAUTH_EVENTS if is_oauth else ())]),
            },
            "interactivity": {"is_enabled": True, **request_url},
            "org_deploy_enabled": is_oauth,
            "socket_mode_enabled": is_socket_mode,
            "token_rotation_enabled": False,
        },
    }


def _public(settings: Settings) -> str:
    return (settings.public_url or "").rstrip("/")


def _slash_commands(commands: Iterable[Command], url: str | None) -> list[dict[str, Any]]:
    named = sorted(by_slash_name(commands).items())
    lines = [("/ask", asking(say("ask_help", "en"))), *named][:_MOST_COMMANDS]
    return [_slash_command(name, command, url) for name, command in lines]


def _slash_command(name: str, command: Command, url: str | None) -> dict[str, Any]:
    hint = command.usage.partition(" ")[2]
    return {
        "command": name,
        "description": cut(command.help.splitlines()[0], _COMMAND),
        **({"usage_hint": hint} if hint else {}),
        **({"url": url} if url else {}),
        "should_escape": False,
    }
