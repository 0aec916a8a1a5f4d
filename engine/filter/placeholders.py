"""Numbered placeholders: `<EMAIL_ADDRESS_1>` in place of a value, and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from engine.filter.rules import Finding, find, normalise

PLACEHOLDER = re.compile(r"<([A-Z][A-Z_]*)_(\d{1,6})>")


class Placeholders:
    """Hands out placeholders: the same one for the same value, numbered by kind in order of appearance.

    Not thread-safe; one object a conversation or request. `reserve` what a text already contains.
    """

    def __init__(self) -> None:
        self._by_value: dict[tuple[str, str], str] = {}
        self._last: dict[str, int] = {}

    def reserve(self, text: str) -> None:
        """Number from behind the placeholders that `text` already has."""
        for entity, number in PLACEHOLDER.findall(text):
            self._last[entity] = max(self._last.get(entity, 0), int(number))

    def known(self, finding: Finding, value: str) -> str | None:
        """The placeholder that `value` already has."""
        return self._by_value.get((finding.entity, normalise(finding.entity, value)))

    def __call__(self, finding: Finding, value: str) -> str:
        """The placeholder for `value`."""
        key = (finding.entity, normalise(finding.entity, value))
        if key not in self._by_value:
            self._last[finding.entity] = self._last.get(finding.entity, 0) + 1
            self._by_value[key] = f"<{finding.entity}_{self._last[finding.entity]}>"
        return self._by_value[key]


def redact(text: str, replace: Callable[[Finding, str], str]) -> str:
    """`text` with every finding replaced by what `replace(finding, value)` says."""
    pieces, position = [], 0
    for finding in find(text):
        pieces += [
            text[position : finding.start],
            replace(finding, text[finding.start : finding.end]),
        ]
        position = finding.end
    return "".join([*pieces, text[position:]])


def escape_placeholders(text: str) -> str:
    """Take the power from placeholders that a person typed: they look the same and restore nothing."""
    return PLACEHOLDER.sub(lambda match: f"‹{match[1]}_{match[2]}›", text)


def restore_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Put values back; a placeholder without a value is masked."""
    return PLACEHOLDER.sub(lambda match: values.get(match[0]) or mask(match[1]), text)


def mask_placeholders(text: str) -> str:
    """What others may see in place of a value: `[email address]`."""
    return PLACEHOLDER.sub(lambda match: mask(match[1]), text)


def mask(entity: str) -> str:
    """What stands for a value that is not shown: `[email address]`."""
    return f"[{entity.replace('_', ' ').lower()}]"
