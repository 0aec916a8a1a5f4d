"""One argument of a command: its type, its choices, and what may be typed for it."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from bots.errors import Misused
from bots.threads import in_thread
from engine.log import logger

log = logger("bots.commands")

_MOST_SUGGESTIONS = 25
# Platforms wait three seconds for suggestions.
_SUGGEST_SECONDS = 2.0
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

Suggested = Sequence[str] | Callable[[str], Sequence[str] | Awaitable[Sequence[str]]]
"""What may be typed for a text: a list that is searched, or a function of what was typed so far."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: how it is called, what it must be, and whether it takes the rest of the line."""

    name: str
    kind: Any
    default: Any
    takes_rest: bool
    suggest: Suggested | None = None

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def choices(self) -> tuple[str, ...]:
        """What a `Literal` allows, as it is typed; nothing for other types."""
        return tuple(map(str, get_args(self.kind))) if get_origin(self.kind) is Literal else ()

    async def suggestions(self, typed: str) -> list[str]:
        """At most 25 texts that may be meant; what a plugin's function does wrong is logged, not raised."""
        if not callable(self.suggest):
            return _fitting(self.choices or self.suggest or (), typed)
        try:
            return list(await _suggested(self.suggest, typed))[:_MOST_SUGGESTIONS]
        # A plugin's own code runs here: anything may happen.
        except (Exception, SystemExit) as error:
            log.warning(
                "there are no suggestions", parameter=self.name, error=f"{type(error).__name__}: {error}"
            )
            return []

    def parse(self, text: str) -> Any:
        """`text` as this argument's type. Raises `CommandError` saying what it must be."""
        if get_origin(self.kind) is Literal:
            choices = {str(choice).lower(): choice for choice in get_args(self.kind)}
            if text.lower() not in choices:
                named = ", ".join(map(str, choices.values()))
                raise Misused("argument_choice", name=self.name, choices=named, given=text)
            return choices[text.lower()]
        if self.kind is bool:
            if text.lower() not in _WORDS:
                raise Misused("argument_yes_no", name=self.name, given=text)
            return _WORDS[text.lower()]
        try:
            return self.kind(text)
        except ValueError as error:
            expected = "argument_whole" if self.kind is int else "argument_number"
            raise Misused(expected, name=self.name, given=text) from error


def typed_word(parameter: Parameter, value: str) -> str:
    """One argument as it is typed before others: in quotes where it has spaces."""
    value = value or ("" if parameter.is_required or parameter.default is None else str(parameter.default))
    if parameter.takes_rest or not re.search(r"\s", value):
        return value
    quote = "'" if '"' in value else '"'
    return f"{quote}{value.replace(quote, '’')}{quote}"


def _fitting(texts: Sequence[str], typed: str) -> list[str]:
    """The texts that have what was typed in them, those that begin with it first."""
    wanted = typed.strip().casefold()
    found = [text for text in texts if wanted in text.casefold()]
    return sorted(found, key=lambda text: not text.casefold().startswith(wanted))[:_MOST_SUGGESTIONS]


async def _suggested(suggest: Callable[[str], Any], typed: str) -> Sequence[str]:
    async with asyncio.timeout(_SUGGEST_SECONDS):
        if inspect.iscoroutinefunction(suggest):
            found = await suggest(typed)
        else:
            found = await in_thread(suggest, typed)
    return [str(text) for text in found]
