"""Where a text may be cut well: at the end of a sentence, of a line, of a word, between two characters."""

from __future__ import annotations

import re
from typing import Literal

from engine.encoding.characters import whole_after, whole_before

Snap = Literal["sentence", "line", "character"]

# A full stop after a single letter or digit is none: `e.g.`, `J. Doe`, `1.` before a list item.
_SENTENCE_END = (
    r"""[.!?…。！？](?<!\W\w\.)[.!?…。！？"'”’»」』）)\]*_]*(?:(?<=[。！？」』）])|(?=\s))(?:[^\S\n]*\n+)?"""
)
_FIRST = re.compile(_SENTENCE_END)
_LAST = re.compile(f"(?s:.*){_SENTENCE_END}")
# Marks that may stand between the one that ends a sentence and its end: looked back for this far.
_CLOSING = 8


def last_border(text: str, start: int, after: int, limit: int, snap: Snap) -> int:
    """Where what begins at `start` ends best: the last good place in (`after`, `limit`].

    When there is none, it is the last between two characters, which may be a little earlier. A line break
    goes with the line that it ends, other white space with the word that it is before.
    """
    if snap == "sentence":
        sentence = _LAST.match(text, max(after - _CLOSING, 0), limit + 1)
        if sentence and sentence.end() > after:
            return min(sentence.end(), limit)
    if snap != "character":
        if line := text.rfind("\n", after, limit) + 1:
            return line
        if (word := text.rfind(" ", after + 1, limit + 1)) > 0:
            return word
    return whole_before(text, limit, start)


def first_border(text: str, start: int, begin: int, limit: int, snap: Snap) -> int:
    """The first good place in [`begin`, `limit`], else the first between two characters from `begin` on.

    At `start` a character is known to begin.
    """
    if snap == "sentence":
        for sentence in _FIRST.finditer(text, max(begin - _CLOSING, 0), limit + 1):
            if sentence.end() >= begin:
                return min(sentence.end(), limit)
    if snap != "character":
        if line := text.find("\n", max(begin - 1, 0), limit) + 1:
            return line
        if (word := text.find(" ", begin, limit + 1)) >= 0:
            return word
    return whole_after(text, begin, start)
