"""Cutting a long text into posts: at paragraphs before lines before sentences before words.

A code fence that is cut is closed and opened again with its language.
"""

from __future__ import annotations

import re

from engine.encoding.characters import LONGEST_CHARACTER, continues

_BREAKS = ("\n\n", "\n", ". ", " ")
_FENCE = re.compile(r"^(```[^\n`]*)$", re.MULTILINE)
# Room for closing a fence at the end of a part: a line break and three backticks.
_CLOSING = 4
# A longer opening line is no language but text, and would fill the next part again.
_LONGEST_FENCE = 30
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
            part, rest = f"{part}\n```", f"{fence if len(fence) <= _LONGEST_FENCE else '```'}\n{rest}"
        if part:
            parts.append(part)
    return [*parts, rest] if rest.strip() or not parts else parts


def _cut(text: str, limit: int) -> int:
    for mark in _BREAKS:
        found = text.rfind(mark, int(limit * _EARLIEST), limit)
        if found > 0:
            return found + len(mark.rstrip())
    return _whole_character(text, limit)


def _whole_character(text: str, cut: int) -> int:
    """Not within a character made of several code points, nor within the backticks of a fence."""
    earlier = cut
    while earlier > 1 and cut - earlier < LONGEST_CHARACTER and _belongs(text, earlier):
        earlier -= 1
    return cut if _belongs(text, earlier) else earlier


def _belongs(text: str, at: int) -> bool:
    """Whether the code point at `at` must stay with the one before it."""
    return continues(text, at) or text[at] == text[at - 1] == "`"  # half a fence is none


def _open_fence(part: str) -> str | None:
    """The opening line of a code fence that `part` leaves open."""
    fences = _FENCE.findall(part)
    return fences[-1] if len(fences) % 2 else None
