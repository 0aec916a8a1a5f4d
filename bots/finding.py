"""One thing that `frontdesk doctor` found. A leaf, so that every part of it can say what it saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`todo` says what to do about it; empty where nothing is to be done, or `text` says it."""

    area: str
    level: Level
    text: str
    todo: str = ""


def ok(area: str, text: str) -> Finding:
    """As it should be."""
    return Finding(area, "ok", text)


def warning(area: str, text: str, todo: str = "") -> Finding:
    """It works, but something is missing or at risk."""
    return Finding(area, "warning", text, todo)


def wrong(area: str, text: str, todo: str = "") -> Finding:
    """It does not work, or not as it was configured."""
    return Finding(area, "wrong", text, todo)
