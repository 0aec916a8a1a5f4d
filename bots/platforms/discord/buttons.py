"""The buttons below answers, and what a press means.

What a button does stands in its `custom_id` (at most 100 characters) and in the message it sits on, so
that it works after any restart, on any machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bots.message import Message

Row = dict[str, Any]

_OPTION = "frontdesk:option:"
_RATE = re.compile(r"frontdesk:rate:(up|down):(.+)")
_STOP = re.compile(r"frontdesk:stop:(.+):(\d*)")
_LONGEST_ID = 100
_LONGEST_LABEL = 80
_MOST_IN_A_ROW = 5
# components/reference: an action row, a button, its grey style.
_ACTION_ROW, _BUTTON, _SECONDARY = 1, 2, 2


@dataclass(frozen=True, slots=True)
class Rated:
    """Somebody said whether the answer to the question `message_id` helped."""

    message_id: str
    is_helpful: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """Somebody wants no more of the answer to `message_id`, which `author_id` asked."""

    message_id: str
    author_id: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """Somebody chose an option of a question back."""

    text: str


def option_rows(options: Sequence[str]) -> list[Row]:
    """A button for each option, five a row."""
    buttons = [
        _button(f"{_OPTION}{number}", label=_shortened(option)) for number, option in enumerate(options, 1)
    ]
    return _rows(buttons)


def feedback_rows(message: Message) -> list[Row]:
    """Whether the answer helped."""
    signs = {"up": "👍", "down": "👎"}
    return _rows([_button(f"frontdesk:rate:{name}:{message.id}", emoji=sign) for name, sign in signs.items()])


def stop_rows(message: Message) -> list[Row]:
    """Below an answer that still grows; its author's id tells who may press it."""
    return _rows([_button(f"frontdesk:stop:{message.id}:{message.author.id}", emoji="⏹️")])


def pressed(custom_id: str, content: str) -> Rated | Stopped | Chosen | None:
    """What a press means; None for a button that is not one of these.

    Parameters
      content: of the message that the button belongs to, in which options stand by their number
    """
    if rated := _RATE.fullmatch(custom_id):
        return Rated(rated[2], rated[1] == "up")
    if stopped := _STOP.fullmatch(custom_id):
        return Stopped(stopped[1], stopped[2])
    if custom_id.startswith(_OPTION):
        number = re.escape(custom_id.removeprefix(_OPTION))
        line = re.search(rf"^{number}\. (.+)$", content, re.MULTILINE)
        return Chosen(line[1]) if line else None
    return None


def _button(custom_id: str, *, label: str = "", emoji: str = "") -> Row:
    shown: Row = {"label": label} if label else {"emoji": {"name": emoji}}
    return {"type": _BUTTON, "style": _SECONDARY, "custom_id": custom_id, **shown}


def _rows(buttons: Sequence[Row]) -> list[Row]:
    fitting = [button for button in buttons if len(button["custom_id"]) <= _LONGEST_ID]
    starts = range(0, len(fitting), _MOST_IN_A_ROW)
    return [{"type": _ACTION_ROW, "components": fitting[row : row + _MOST_IN_A_ROW]} for row in starts]


def _shortened(option: str) -> str:
    return option if len(option) <= _LONGEST_LABEL else f"{option[: _LONGEST_LABEL - 1]}…"
