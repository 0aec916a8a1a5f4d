"""The app's Home: what the bot is for, how it is asked, and its commands with a button each."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from bots.commands import Command
from bots.platforms.slack.slash import slash_name
from bots.platforms.slack.text import cut
from engine.language.phrases import say

BUTTON = "frontdesk_call"
"""Begins the action id of a command's button; its value is the command's name."""
MOST_PROMPTS = 4
# Slack's limits: blocks of a view, and characters of a section, a heading and a prompt.
_MOST_BLOCKS, _SECTION, _HEADING, _PROMPT = 100, 3000, 150, 250


def home(commands: Collection[Command], persona: str, bot_user: str, channel: str, language: str) -> Any:
    """The view for `views.publish`. `channel` is where buttons answer: the talk with the bot."""
    greeting = say("greeting", language, persona=_shown(persona))
    how = say("home_how", language, mention=f"<@{bot_user}>")
    ordered = sorted(commands, key=lambda found: found.name)
    head = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": cut(persona, _HEADING), "emoji": False},
        },
        _section(f"{greeting}\n{how}"),
        {"type": "divider"},
        _section(say("help", language)),
    ]
    return {
        "type": "home",
        "private_metadata": json.dumps({"channel": channel}),
        "blocks": [*head, *map(_line, ordered)][:_MOST_BLOCKS],
    }


def prompts(suggestions: Sequence[str]) -> list[dict[str, str]]:
    """What `assistant.threads.setSuggestedPrompts` takes."""
    return [{"title": cut(text, _PROMPT), "message": text} for text in suggestions[:MOST_PROMPTS]]


def channel_of(view: dict[str, Any]) -> str:
    """Where a button of the Home answers."""
    return str(json.loads(view["private_metadata"])["channel"])


def _line(command: Command) -> dict[str, Any]:
    name = slash_name(command.name)
    usage = command.usage.replace(f"/{command.name}", name, 1)
    help_line = command.help.splitlines()[0]
    return {
        **_section(f"`{_shown(usage)}`  {_shown(help_line)}"),
        "accessory": {
            "type": "button",
            "action_id": f"{BUTTON}_{command.name}",
            "text": {"type": "plain_text", "text": cut(name, 75), "emoji": False},
            "value": command.name,
        },
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:_SECTION]}}


def _shown(text: str) -> str:
    """As it is, in Slack's own markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
