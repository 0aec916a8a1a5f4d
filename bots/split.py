"""Cutting a long text into posts: at paragraphs before lines before sentences before words.

A code fence that is cut is closed and opened again with its language.
"""

from __future__ import annotations

import re

_BREAKS = ("\n\n", "\n", ". ", " ")
_FENCE = re.compile(r"^(```[^\n`]*)$", re.MULTILINE)
# Room for closing a fence at the end of a part: a line break and three backticks.
_CLOSING = 4
# A break this early would make parts needlessly short.
_EARLIEST = 0.5


def split(text: str, limit: int) -> list[str]:
    """Parts of at most `limit` characters. Nothing but white space at the cuts is lost.

    A later part never changes an earlier one when `text` grows at its end by more than a part, so that
    parts can be posted while an answer streams.
    """
    parts: list[str] = []
    rest = text
    while len(rest) > limit:
        cut = _cut(rest, limit - _CLOSING)
        part, rest = rest[:cut].rstrip(), rest[cut:].lstrip("\n" if rest[cut : cut + 1] == "\n" else " ")
        if fence := _open_fence(part):
            part, rest = f"{part}\n```", f"{fence}\n{rest}"
        parts.append(part)
    return [*parts, rest] if rest.strip() or not parts else parts


def _cut(text: str, limit: int) -> int:
    for mark in _BREAKS:
        found = text.rfind(mark, int(limit * _EARLIEST), limit)
        if found > 0:
            return found + len(mark.rstrip())
    return _whole_character(text, limit)


def _whole_character(text: str, cut: int) -> int:
    """Not within an emoji made of several code points: back over joiners, marks and selectors."""
    while cut > 1 and (
        text[cut] in "\u200d\ufe0f\u20e3" or text[cut - 1] == "\u200d" or "\u0300" <= text[cut] <= "\u036f"
    ):
        cut -= 1
    return cut


def _open_fence(part: str) -> str | None:
    """The opening line of a code fence that `part` leaves open."""
    fences = _FENCE.findall(part)
    return fences[-1] if len(fences) % 2 else None
