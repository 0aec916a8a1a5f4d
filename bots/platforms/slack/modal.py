"""A command as a form: one field a parameter, and what was filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args, get_origin

from bots.commands import Command, Parameter
from bots.platforms.slack.text import cut
from engine.language.phrases import say

CALLBACK = "frontdesk_command"
# Slack's limits: characters of a title, a label, an option and a default, and options of a menu.
_TITLE, _LABEL, _OPTION, _VALUE, _MOST_OPTIONS = 24, 2000, 75, 3000, 100
_WORDS = {True: "yes", False: "no"}


@dataclass(frozen=True, slots=True)
class Form:
    """Whose form it is and where the answer goes; it travels with the form as its `private_metadata`."""

    command: str
    channel: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Form:
        return cls(**json.loads(text))


def modal(command: Command, form: Form, language: str) -> dict[str, Any]:
    """The view for `views.open`."""
    fields = [_block(parameter, language) for parameter in command.parameters]
    return {
        "type": "modal",
        "callback_id": CALLBACK,
        "private_metadata": form.to_json(),
        "title": _plain(f"/{command.name}", _TITLE),
        "submit": _plain(say("send", language), _TITLE),
        "close": _plain(say("cancel", language), _TITLE),
        "blocks": [
            {"type": "section", "text": _plain(command.help.splitlines()[0], _LABEL)},
            *fields[: _MOST_OPTIONS - 1],
        ],
    }


def filled_in(state: Mapping[str, Any]) -> dict[str, str]:
    """What a submitted form says, by parameter; what was left empty is not there."""
    given: dict[str, str] = {}
    for name, fields in state["values"].items():
        for element in fields.values():
            value = (element.get("selected_option") or element).get("value")
            if value is not None:
                given[name] = str(value)
    return given


def as_typed(command: Command, given: Mapping[str, str]) -> str:
    """What people would have typed instead of the form."""
    words = [_quoted(given[p.name], p.takes_rest) for p in command.parameters if p.name in given]
    return " ".join([f"/{command.name}", *words])


def _quoted(value: str, takes_rest: bool) -> str:
    is_one_word = len(value.split()) == 1
    return value if takes_rest or is_one_word else f'"{value}"'


def _block(parameter: Parameter, language: str) -> dict[str, Any]:
    return {
        "type": "input",
        "block_id": parameter.name,
        "label": _plain(parameter.name.replace("_", " ").capitalize(), _LABEL),
        "element": {"action_id": "value", **_element(parameter, language)},
        "optional": not parameter.is_required,
    }


def _element(parameter: Parameter, language: str) -> dict[str, Any]:
    kind = parameter.kind
    if get_origin(kind) is Literal and len(get_args(kind)) <= _MOST_OPTIONS:
        choices = {str(choice): str(choice) for choice in get_args(kind)}
        return {"type": "static_select", **_choice(choices, _default(parameter))}
    if kind is bool:
        choices = {word: say(word, language) for word in _WORDS.values()}
        return {"type": "radio_buttons", **_choice(choices, _default(parameter))}
    initial = {"initial_value": value[:_VALUE]} if (value := _default(parameter)) else {}
    if kind in (int, float):
        return {"type": "number_input", "is_decimal_allowed": kind is float, **initial}
    return {"type": "plain_text_input", "multiline": parameter.takes_rest, **initial}


def _choice(choices: Mapping[str, str], default: str) -> dict[str, Any]:
    options = {value: {"text": _plain(label, _OPTION), "value": value} for value, label in choices.items()}
    initial = {"initial_option": options[default]} if default in options else {}
    return {"options": list(options.values()), **initial}


def _default(parameter: Parameter) -> str:
    if parameter.is_required or parameter.default is None:
        return ""
    if isinstance(parameter.default, bool):
        return _WORDS[parameter.default]
    return str(parameter.default)


def _plain(text: str, length: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": cut(text, length), "emoji": False}
