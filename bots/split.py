"""Cutting a long text into posts: at paragraphs before lines before sentences before words.

A code fence that is cut is closed and opened again with its language, a table goes on under its header.
Links, emoji and placeholders stay whole. Where to cut is decided by one part's length of text alone, so that
what comes later changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from engine.encoding.characters import LONGEST_CHARACTER, continues

_BREAKS = ("\n\n", "\n", ". ", "。", " ")
# Room for closing a fence at the end of a part: a line break and three backticks.
_CLOSING = 4
# A longer opening line is no language but text, and would fill the next part again.
_LONGEST_FENCE = 30
# A break this early would make parts needlessly short; so would a bracket that may never be closed.
_EARLIEST = 0.5
# A table's header may fill this much of each part; a larger one is not repeated.
_LARGEST_HEADER = 0.5

_FENCE = re.compile(
    r"^(?P<mark>[ \t]{0,8}(?:`{3,10}(?=[^`\n]*$)|~{3,10}(?!~)))(?P<info>[^\n]*)$", re.MULTILINE
)
_HEADER = re.compile(
    r"^(?P<header>[^|\n]*\|[^\n]*\n"
    r"[ \t]*(?=[^\n]*\|)\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*)$",
    re.MULTILINE,
)
_ROW = re.compile(r"^[^|\n]*\|[^\n]*$", re.MULTILINE)
# `[text](target)`, `[text][label]`, `<https://…>`, `<:emoji:1>`, and what has an address in it: whole, or
# still open where the text ends.
_KEPT = re.compile(
    r"!?\[(?:[^\[\]\n]++|\n(?!\s)|!?\[[^\[\]\n]*+\](?:\([^()\n]*+\))?)*+"
    r"(?:\](?:\((?:[^()\n]++|\([^()\n]*+\))*+(?:\)|(?:\([^()\n]*+)?\Z)|\[[^\[\]\n]*+(?:\]|\Z))?"
    r"|(?:!?\[[^\[\]\n]*+(?:\]\([^()\n]*+)?)?\Z)"
    r"|<(?=[^\s<>])[^<>\n]*+(?:>|\Z)"
    r"|(?<![^\s|<>\u2e80-\uffef])[^\s|<>\u2e80-\uffef]*(?::/|www\.)[^\s|<>\u2e80-\uffef]*"
)


@dataclass(frozen=True, slots=True)
class _Fence:
    """A code fence's opening line, from `start` to `end`, and where it is closed, or beyond what is seen."""

    mark: str
    info: str
    start: int
    end: int
    closing_start: int
    closing_end: int

    @property
    def opening(self) -> str:
        line = f"{self.mark}{self.info}"
        return line if len(line) <= _LONGEST_FENCE else self.mark


@dataclass(frozen=True, slots=True)
class _Table:
    header: str
    start: int
    body: int
    end: int
    rows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _State:
    """What a part begins within."""

    fence: _Fence | None = None
    header: str = ""


@dataclass(frozen=True, slots=True)
class _Window:
    """A part's length of text and one character more, all that its cut is decided by."""

    text: str
    fences: tuple[_Fence, ...]
    tables: tuple[_Table, ...]
    last: int = field(default=0)
    """The latest place to cut at."""


def split(text: str, limit: int) -> list[str]:
    """Parts of at most `limit` characters, 60 or more. Nothing but white space at the cuts is lost.

    A later part never changes an earlier one when `text` grows at its end, so that parts can be posted while
    an answer streams. What is longer than a part by itself is cut.
    """
    parts: list[str] = []
    at, state = 0, _State()
    while len(head := _head(text, at, state, limit)) + len(text) - at > limit:
        window = _window(text[at : at + limit - len(head) + 1], state)
        cut = _cut(window)
        state = _state(window, cut, limit)
        if (part := window.text[:cut].rstrip()).strip():
            parts.append(f"{head}{part}\n{state.fence.mark}" if state.fence else f"{head}{part}")
        at = _skipped(text, at + cut)
    rest = text[at:]
    return [*parts, head + rest] if rest.strip() or not parts else parts


def _head(text: str, at: int, state: _State, limit: int) -> str:
    """What a part is begun with, so that its text means what it did."""
    if state.fence:
        return f"{state.fence.opening}\n"
    row = _ROW.match(text, at, at + limit) if state.header else None
    return f"{state.header}\n" if row else ""


def _skipped(text: str, cut: int) -> int:
    """Past the white space that a cut leaves out; indentation stays."""
    mark = "\n" if text[cut : cut + 1] == "\n" else " "
    while text[cut : cut + 1] == mark:
        cut += 1
    return cut


def _window(text: str, state: _State) -> _Window:
    fences = tuple(_fences(text, state.fence))
    room = max([_CLOSING, *(len(fence.mark) + 1 for fence in fences)])
    tables = tuple(_tables(text, state.header, fences)) if "|" in text else ()
    return _Window(text, fences, tables, max(1, len(text) - 1 - room))


def _fences(text: str, fence: _Fence | None) -> Iterator[_Fence]:
    never = len(text) + 1
    opened = fence and _Fence(fence.mark, fence.info, -1, -1, never, never)
    for line in _FENCE.finditer(text):
        mark, info, start, end = line["mark"], line["info"], line.start(), line.end()
        if opened is None:
            opened = _Fence(mark, info, start, end, never, never)
        # What ends where the text does may go on, and close nothing then.
        elif mark.strip().startswith(opened.mark.strip()) and not info.strip() and end < len(text):
            yield _Fence(opened.mark, opened.info, opened.start, opened.end, start, end)
            opened = None
    if opened:
        yield opened


def _tables(text: str, header: str, fences: Iterable[_Fence]) -> Iterator[_Table]:
    end = 0
    if header:
        rows = tuple(_rows(text, 0))
        end = rows[-1][1] if rows else 0
        yield _Table(header, 0, 0, end, rows)
    for found in _HEADER.finditer(text, end):
        if found.start() >= end and not _within_fence(found.start(), fences):
            rows = tuple(_rows(text, found.end() + 1))
            end = rows[-1][1] if rows else found.end()
            yield _Table(found["header"], found.start(), found.end() + 1, end, rows)


def _rows(text: str, at: int) -> Iterator[tuple[int, int]]:
    while row := _ROW.match(text, at):
        yield row.span()
        at = row.end() + 1


def _within_fence(at: int, fences: Iterable[_Fence]) -> bool:
    return any(fence.start <= at < fence.closing_end for fence in fences)


def _cut(window: _Window) -> int:
    """Where the part ends."""
    kept = _kept_spans(window)
    cut = _break(window, kept)
    for fence in window.fences:  # what closes a fence belongs to the part that ends before it
        if cut == fence.closing_start - 1:
            return fence.closing_end
    return cut


def _break(window: _Window, kept: list[tuple[int, int]]) -> int:
    text, earliest = window.text, int(len(window.text) * _EARLIEST)
    for mark in _BREAKS:
        kept_of_mark, high = len(mark.rstrip()), window.last
        while (found := text.rfind(mark, earliest, high)) > 0:
            cut = found + kept_of_mark
            if (start := _start_around(cut, kept)) < 0:
                return cut
            high = start - kept_of_mark + len(mark)
    cut = _whole_character(text, window.last)
    while (start := _start_around(cut, kept)) > 0:
        cut = start
    return cut


def _start_around(cut: int, kept: Iterable[tuple[int, int]]) -> int:
    """Where that begins which a cut here would break; -1 if nothing."""
    return min((start for start, end in kept if start < cut < end), default=-1)


def _kept_spans(window: _Window) -> list[tuple[int, int]]:
    """What is to stay whole. Not what begins a part and is longer: it is cut as text."""
    spans = [*_links(window.text), *_fence_lines(window), *_table_lines(window)]
    return [(start, end) for start, end in spans if start > 0 or end <= window.last]


def _links(text: str) -> Iterator[tuple[int, int]]:
    for found in _KEPT.finditer(text):
        is_open = found.end() == len(text)
        if not is_open:
            yield found.span()
        elif "](" in found[0] or ":/" in found[0] or found.start() >= len(text) * _EARLIEST:
            yield found.start(), found.end() + 1


def _fence_lines(window: _Window) -> Iterator[tuple[int, int]]:
    """An opening line with the line break behind it, and a closing line."""
    for fence in window.fences:
        yield fence.start, fence.end + 2
        yield fence.closing_start, fence.closing_end


def _table_lines(window: _Window) -> Iterator[tuple[int, int]]:
    """A header with its separator, each row that fits into a part, and what may become a header."""
    for table in window.tables:
        yield table.start, table.body + 1
        longest = window.last - (len(table.header) + 1 if table.body else 0)
        yield from ((start, end) for start, end in table.rows if end - start <= longest)
    text, line = window.text, window.text.rfind("\n") + 1
    for start, end in ((text.rfind("\n", 0, max(0, line - 1)) + 1, line), (line, len(text))):
        if "|" in text[start:end] and start >= len(text) * _EARLIEST and not _is_known(start, window):
            yield start, len(text) + 1


def _is_known(at: int, window: _Window) -> bool:
    return _within_fence(at, window.fences) or any(t.start <= at <= t.end for t in window.tables)


def _state(window: _Window, cut: int, limit: int) -> _State:
    """What a cut leaves open."""
    for fence in window.fences:
        if fence.start < cut < fence.closing_end:
            return _State(fence=fence)
    for table in window.tables:
        # A line that is seen in part may yet be a row.
        goes_on = cut < table.end or (cut == table.end and "\n" not in window.text[cut + 1 :])
        if table.body <= cut and goes_on and len(table.header) < limit * _LARGEST_HEADER:
            return _State(header=table.header)
    return _State()


def _whole_character(text: str, cut: int) -> int:
    """Not within a character made of several code points, nor within the backticks of a fence."""
    earlier = cut
    while earlier > 1 and cut - earlier < LONGEST_CHARACTER and _belongs(text, earlier):
        earlier -= 1
    return cut if _belongs(text, earlier) else earlier


def _belongs(text: str, at: int) -> bool:
    """Whether the code point at `at` must stay with the one before it."""
    return continues(text, at) or text[at] == text[at - 1] in "`~"  # half a fence is none
