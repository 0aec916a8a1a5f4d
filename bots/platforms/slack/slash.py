"""Slash commands: which name a plugin's command has in Slack, and which command a name calls."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping

from bots.commands import Command, Parameter

ASK = "ask"
"""Asks a question; no plugin's command but ours."""
# Slack's own, which no app may have, and those that it had once.
_RESERVED = re.compile(
    "active|apps|archive|away|call|collapse|dm|dnd|expand|feed|help|huddle|invite|invite_people|join|keys|leave|"
    "me|mentions|msg|mute|mute_all|open|prefs|remind|remove|rename|search|settings|shortcuts|shrug|stars?|"
    "status|topic|unstar|who"
)
_PREFIX = "frontdesk-"
_MOST_CHARACTERS = 32


async def _nothing() -> str:
    return ""


def asking(help_text: str) -> Command:
    """`/ask` as a command, for its form and its line of help; it is never called."""
    question = Parameter("question", str, inspect.Parameter.empty, takes_rest=True)
    return Command(ASK, help_text, _nothing, (question,))


def slash_name(name: str) -> str:
    """A command's name in Slack, with its slash: prefixed where Slack has one of this name itself."""
    shown = f"{_PREFIX}{name}" if _RESERVED.fullmatch(name) else name
    return f"/{shown[: _MOST_CHARACTERS - 1]}"


def by_slash_name(commands: Iterable[Command]) -> Mapping[str, Command]:
    """What Slack calls a command, to the command. `/ask` is ours, whatever a plugin says."""
    return {slash_name(command.name): command for command in commands if command.name != ASK}
