"""What the bot's commands look like at Discord, made from the registry, and registering them there.

Registering is limited, and takes effect everywhere at once: it is done only when something changed.
Source: interactions/application-commands.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import discord
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bots import keys
from bots.commands import Command, Parameter
from engine.language.phrases import say
from engine.log import logger

Json = dict[str, Any]

log = logger("bots.discord")

ASK = "ask"

# Discord's names of our languages (reference#locales); English is the default.
_LOCALES = {"de": "de", "fr": "fr", "es": "es-ES", "zh": "zh-CN", "ja": "ja"}
_CHAT_INPUT, _MESSAGE_MENU = discord.AppCommandType.chat_input.value, discord.AppCommandType.message.value
_STRING = discord.AppCommandOptionType.string.value
_TYPES = {
    int: discord.AppCommandOptionType.integer.value,
    float: discord.AppCommandOptionType.number.value,
    bool: discord.AppCommandOptionType.boolean.value,
}
_LONGEST_NAME, _LONGEST_TEXT, _LONGEST_CHOICE = 32, 100, 100
_MOST_COMMANDS, _MOST_OPTIONS, _MOST_CHOICES = 100, 25, 25
# Text inputs in one modal (components/reference#text-input).
_MOST_INPUTS = 5
# For servers and for people; in servers, direct messages and elsewhere.
_EVERYWHERE = {"integration_types": [0, 1], "contexts": [0, 1, 2]}


class Slash:
    """Slash commands by the name that Discord knows them by, each with the names of its options."""

    def __init__(self, commands: Iterable[Command]) -> None:
        """What does not fit into Discord's limits is left out and logged; typing it still works."""
        self._commands: dict[str, Command] = {}
        for command in commands:
            self._add(command)

    def _add(self, command: Command) -> None:
        name, options = slash_name(command.name), {slash_name(p.name) for p in command.parameters}
        fits = len(self._commands) < _MOST_COMMANDS - 1 and len(command.parameters) <= _MOST_OPTIONS
        if (
            not name
            or name in self._commands
            or "" in options
            or len(options) < len(command.parameters)
            or not fits
        ):
            log.warning(
                "a command is no slash command: its names or their number do not fit", command=command.name
            )
        else:
            self._commands[name] = command

    def find(self, name: str) -> Command | None:
        """The command that is called; None for `ask`, and for what was registered by an earlier version."""
        return self._commands.get(name)

    def payload(self) -> list[Json]:
        """What Discord is told."""
        slash = [_command(name, command) for name, command in sorted(self._commands.items())]
        return [*([] if ASK in self._commands else [_ask()]), *slash, _about()]

    async def register(self, client: discord.Client, redis: Redis) -> None:
        """Tell Discord when something changed. A failure is logged: mentions work without it."""
        application, payload = client.application_id, self.payload()
        key = keys.registered("discord", str(application))
        digest = hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()
        try:
            if await redis.get(key) != digest.encode():
                await client.http.bulk_upsert_global_commands(application or 0, payload)
                await redis.set(key, digest)
        except (discord.HTTPException, discord.RateLimited, RedisError) as error:
            log.warning(
                "the slash commands could not be registered; everything else works", reason=str(error)
            )


def slash_name(name: str) -> str:
    """`name` as Discord takes it: lower case, letters, digits, _ and -, at most 32; empty if none is left."""
    return re.sub(r"[^\w-]+", "-", name.lower()).strip("-")[:_LONGEST_NAME]


def named_options(command: Command, options: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The arguments that were given, as text by the names of the command's parameters."""
    names = {slash_name(parameter.name): parameter.name for parameter in command.parameters}
    given = ((option["name"], option["value"]) for option in options)
    return {names[name]: _text(value) for name, value in given if name in names}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def opens_modal(command: Command) -> bool:
    """Whether the command may be called without its last text, which is then asked for in a window."""
    last = command.parameters[-1] if command.parameters else None
    return (
        last is not None and last.takes_rest and last.is_required and len(command.parameters) <= _MOST_INPUTS
    )


def _command(name: str, command: Command) -> Json:
    options = [_option(parameter) for parameter in command.parameters]
    if opens_modal(command):
        options[-1]["required"] = False
    return _entry(name, _CHAT_INPUT, description=_shown(command.help.splitlines()[0]), options=options)


def _option(parameter: Parameter) -> Json:
    found: Json = {
        "type": _TYPES.get(parameter.kind, _STRING),
        "name": slash_name(parameter.name),
        "description": _shown(parameter.name.replace("_", " ")),
        "required": parameter.is_required,
    }
    choices = parameter.choices
    if choices and len(choices) <= _MOST_CHOICES and all(0 < len(c) <= _LONGEST_CHOICE for c in choices):
        return found | {"choices": [{"name": choice, "value": choice} for choice in choices]}
    return found | {"autocomplete": True} if choices or parameter.suggest else found


def _ask() -> Json:
    question = {
        "type": _STRING,
        "name": "question",
        "description": say("ask_question", "en"),
        "required": True,
    }
    question["description_localizations"] = _translated("ask_question")
    described = {"description": say("ask_description", "en")}
    described["description_localizations"] = _translated("ask_description")  # type: ignore[assignment]
    return _entry(ASK, _CHAT_INPUT, **described, options=[question])


def _about() -> Json:
    return _entry(
        say("ask_about_this", "en"), _MESSAGE_MENU, name_localizations=_translated("ask_about_this")
    )


def _entry(name: str, kind: int, **more: Any) -> Json:
    return {"name": name, "type": kind, **_EVERYWHERE, **more}


def _translated(key: str) -> dict[str, str]:
    return {locale: say(key, language) for language, locale in _LOCALES.items()}


def _shown(text: str) -> str:
    text = text.strip() or "…"
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
