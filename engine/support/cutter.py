"""Sentences: cut from a stream as it arrives, or found in a passage with their places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from engine.support.word_lists import listed

_ENDED = re.compile(r"[.!?。！？][\"'”’)]*\s|[。！？]|\n")
_ITEM = re.compile(r"[-*•+#|>]|\d+[.)]\s")
_BEFORE_DOT = re.compile(r"(?:^|(?<=[\s(\"'“„]))(?:[^\W\d_]{1,8}|(?:[^\W\d_]\.){1,3}[^\W\d_]|\d{1,3})\Z")
# The longest of those, and the character before it.
_LOOK_BACK = 10
# Something follows these in the same sentence, whatever it is.
_TITLES = frozenset(listed("dr mr mrs ms prof st e.g i.e vs cf z.b d.h p.ex"))
# These may end a sentence: they do when a capital letter follows.
_SHORT = frozenset(listed("etc approx ca incl excl max min tel no nr vol ext fig art bzw usw inkl a.m p.m"))
# A line this long was wrapped; a shorter one before a capital letter ended on purpose.
_WRAPPED = 40


class SentenceCutter:
    """Cuts a stream into sentences: `feed` pieces, get the finished ones; `close` for the rest."""

    def __init__(self) -> None:
        self._held = ""
        self._seen = 0

    def feed(self, chunk: str) -> Iterator[str]:
        """Sentences that are complete now, with the white space behind them."""
        self._held += chunk
        while match := _ENDED.search(self._held, self._seen):
            is_end = _is_end(self._held, match)
            if is_end is None:
                return
            if is_end:
                sentence, self._held = self._held[: match.end()], self._held[match.end() :]
                self._seen = 0
                yield sentence
            else:
                self._seen = match.end()

    def close(self) -> str:
        """What is left, possibly nothing."""
        rest, self._held, self._seen = self._held, "", 0
        return rest


def _is_end(text: str, mark: re.Match[str]) -> bool | None:
    """Whether a sentence ends at this mark; None when what follows has still to come."""
    if text[mark.start()] != "." or mark[0][-1] == "\n":
        return True
    before = text[max(0, mark.start() - _LOOK_BACK) : mark.start()]
    word = _BEFORE_DOT.search(before)
    if word is None:
        return True
    found = word[0].lower()
    if found in _TITLES:
        return False
    if found.isdigit():  # "1. Open the box" is one item; "… on 5. Then …" is no ordinal
        return bool(text[: mark.start() - len(found)].strip())
    if found not in _SHORT:
        return True
    if mark.end() == len(text):
        return None
    following = text[mark.end()]
    return not (following.isdigit() if found in {"no", "nr"} else following.islower() or following.isdigit())


def sentence_spans(passage: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence, without white space around it.

    List items and headings are sentences; a sentence that was wrapped over several lines is one.
    """
    start = 0
    for piece in _cut(_unwrapped(passage)):
        text = piece.strip()
        if text:
            first = start + piece.index(text)
            yield first, first + len(text)
        start += len(piece)


def _cut(text: str) -> Iterator[str]:
    cutter = SentenceCutter()
    yield from cutter.feed(text)
    yield cutter.close()


def _unwrapped(passage: str) -> str:
    """The passage with spaces for the line ends inside its sentences; every offset stays."""
    lines = passage.split("\n")
    joined = [lines[0]]
    for before, line in pairwise(lines):
        joined += [" " if _is_wrapped(before.strip(), line.strip()) else "\n", line]
    return "".join(joined)


def _is_wrapped(before: str, line: str) -> bool:
    if not before or not line or _ITEM.match(line) or before[0] == "#" or before[-1] in ".!?:。！？|":
        return False
    return not line[0].isupper() or len(before) >= _WRAPPED
