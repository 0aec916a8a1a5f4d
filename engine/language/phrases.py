"""What the bot says by itself, in the customer's language: one file a language in `engine/data/phrases`."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "zh", "es", "fr", "de", "ja")
"""ISO 639-1 codes of the languages that the bot's own phrases exist in."""
_FOLDER = Path(__file__).parents[1] / "data" / "phrases"


def say(key: str, language: str, /, **values: object) -> str:
    """The phrase in this language, in English where it is none of `LANGUAGES`.

    Parameters
      values: what the phrase's placeholders stand for; a phrase about a number of things goes by `count`

    Raises `KeyError` for a phrase or a value that is not there.
    """
    phrase = _phrases(language if language in LANGUAGES else "en")[key]
    if isinstance(phrase, dict):
        phrase = phrase["one" if values["count"] == 1 else "other"]
    return str(phrase).format(**values)


def language_name(code: str, language: str) -> str:
    """How the language `code` is called in `language`; the code itself for one that has no name here."""
    names: dict[str, str] = _phrases(language if language in LANGUAGES else "en")["languages"]
    return names.get(code, code)


def based_on(passages: int, messages: int, language: str, *, is_summary_used: bool = False) -> str:
    """What an answer rests on, in one line; empty when there is nothing to tell.

    Parameters
      messages: how many of the customer's newest messages were read, this one among them
    """
    parts = [say(key, language, count=count) for key, count in _counted(passages, messages)]
    if is_summary_used:
        parts.append(say("summary_used", language))
    if not parts:
        return ""
    *before, last = parts
    listed = say("and", language, first=say("comma", language).join(before), second=last) if before else last
    return say("based_on", language, parts=listed)


def _counted(passages: int, messages: int) -> list[tuple[str, int]]:
    return [(key, count) for key, count in (("passages", passages), ("messages", messages)) if count]


@cache
def _phrases(language: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
