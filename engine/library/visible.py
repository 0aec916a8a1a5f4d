"""A text as a reader sees it: without what only a machine would read."""

from __future__ import annotations

import re
from collections.abc import Iterator

# No glyph of their own: control characters, zero-width spaces, direction marks, variation selectors that
# spell bytes, tag characters that spell ASCII. Emoji keep U+FE0E and U+FE0F.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Joiners shape Persian, Indic scripts and emoji; beside Latin letters they only hide.
_JOINER = re.compile(
    r"(?<=[\x00-\u036f])[\u200c\u200d]+|[\u200c\u200d]+(?=[\x00-\u036f]|\Z)|[\u200c\u200d]{2,}"
)
_OPENS_A_LINE = re.compile(r"^[ ]{0,3}<!--", re.MULTILINE)


def visible(text: str) -> str:
    """What a reader of a page sees of it: no comments, and nothing of what `seen` leaves out."""
    return seen("".join(text[start:end] for start, end in between_comments(text)))


def seen(text: str) -> str:
    """`text` without zero-width, direction, tag and control characters, for what a model reads.

    Offsets change: a quotation is made from the original.
    """
    return _JOINER.sub("", _UNSEEN.sub("", text))


def between_comments(text: str) -> Iterator[tuple[int, int]]:
    """Offsets of the stretches of markdown or HTML that are no comment, in order."""
    start = 0
    for comment_start, comment_end in _comments(text):
        yield start, comment_start
        start = comment_end
    yield start, len(text)


def without_comments(text: str) -> str:
    """Comments blanked out; same length, same lines."""
    pieces, position = [], 0
    for start, end in _comments(text):
        pieces += [text[position:start], re.sub(r"[^\n\f]", " ", text[start:end])]
        position = end
    return "".join([*pieces, text[position:]])


def _comments(text: str) -> Iterator[tuple[int, int]]:
    """Offsets of the comments. One that is never closed hides the rest, where it begins a line."""
    start = text.find("<!--")
    while start >= 0:
        if (end := text.find("-->", start + 4)) < 0:
            if opened := _OPENS_A_LINE.search(text, text.rfind("\n", 0, start) + 1):
                yield opened.start(), len(text)
            return
        yield start, end + 3
        start = text.find("<!--", end + 3)
