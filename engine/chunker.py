"""Sliding token windows over a text, or over a stream of one.

Knows tokenizers and numbers; knows nothing of models, chat platforms or storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from engine.encoding.characters import whole_after
from engine.encoding.encoder import encoder_for
from engine.encoding.snapping import Snap, first_border, last_border
from engine.encoding.tape import Tape

# The last part of a window in which a good place to end it is looked for, and the first part of an overlap
# in which one to begin the next.
_SNAP_SHARE = 4
# A window has at most this many characters a token, so that text without tokens ends too. Usual are four.
_LONGEST_TOKEN = 64
# What is read beyond a window: the character after it tells whether its end is a good one.
_AHEAD = 64


@dataclass(frozen=True, slots=True)
class TokenWindow:
    """`text[start:end]` and its tokens; offsets count characters.

    `token_ids` is what the tokenizer gives for `text[start:end]` alone, without special tokens around it.
    """

    start: int
    end: int
    token_ids: tuple[int, ...]


def windows(
    text: str, tokenizer: Any, size: int, overlap: int = 0, snap: Snap = "sentence"
) -> Iterator[TokenWindow]:
    """Slide windows of at most `size` tokens over `text`, each sharing about `overlap` with the last.

    Together they cover every character of the text, and `text[start:end]` encoded again never has more
    than `size` tokens. Windows begin and end between characters as people see them, unless one alone is
    larger than a window. In its last quarter a window looks for a good place to end: after a sentence,
    else after a line, else after a word. The overlap may be a quarter shorter for the same reason.

    Parameters
      tokenizer: a `tokenizers.Tokenizer` or a fast tokenizer of transformers
      size: tokens in a window, more than `overlap`
      overlap: tokens that neighbours share, 0 or more
      snap: the best kind of place to look for; `character` gives the largest windows

    Raises `ValueError` for a size or overlap out of range, and while sliding when one code point alone is
    more than `size` tokens.
    """
    return stream_windows((text,), tokenizer, size, overlap, snap)


def stream_windows(
    pieces: Iterable[str], tokenizer: Any, size: int, overlap: int = 0, snap: Snap = "sentence"
) -> Iterator[TokenWindow]:
    """The `windows` of the joined pieces, of which only about one window and a block is held at a time.

    Offsets count characters of the whole. The windows are the same wherever the pieces are cut.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be at least 0 and less than size, not {overlap} of {size}")
    return _Slider(Tape(pieces, encoder_for(tokenizer)), size, overlap, snap).windows()


class _Slider:
    """One pass over a tape."""

    def __init__(self, tape: Tape, size: int, overlap: int, snap: Snap) -> None:
        self._tape = tape
        self._size = size
        self._overlap = overlap
        self._snap = snap

    def windows(self) -> Iterator[TokenWindow]:
        tape = self._tape
        start = reached = readable = 0
        while True:
            while reached >= readable and not tape.is_finished:
                dropped = tape.grow(start)
                start, reached = start - dropped, reached - dropped
                readable = self._readable()
            if reached == len(tape.text):
                return
            start, end, token_ids = self._window(start, reached)
            yield TokenWindow(tape.offset + start, tape.offset + end, token_ids)
            start, reached = self._next_start(start, end), end

    def _readable(self) -> int:
        """Before this place a window of any length is on the tape, and some of what comes after it."""
        tape = self._tape
        by_tokens = len(tape.ends) - self._size - _AHEAD
        by_characters = len(tape.text) - self._size * _LONGEST_TOKEN - _AHEAD
        return max(tape.ends[by_tokens] if by_tokens >= 0 else 0, by_characters)

    def _window(self, start: int, reached: int) -> tuple[int, int, tuple[int, ...]]:
        """Start, end and tokens of a window that ends after `reached`.

        What comes next may be too large to share a window with the whole overlap, or with any.
        """
        if found := self._fit(start, reached):
            return start, *found
        for begin in (whole_after(self._tape.text, (start + reached) // 2, start), reached):
            if found := self._fit(begin, reached):
                return begin, *found
        raise ValueError(f"one character needs more than {self._size} tokens: choose a larger size")

    def _fit(self, start: int, reached: int) -> tuple[int, tuple[int, ...]] | None:
        """The end after `reached` of the best window from `start`, and its tokens, if one fits.

        Cutting within words may make tokens more, so a window is measured, and made smaller by as many as it
        has too many.
        """
        tape, text, room = self._tape, self._tape.text, self._size
        first = tape.tokens_before(start)
        while (limit := self._limit(start, first, room)) > reached:
            end = limit
            if limit < len(text) or not tape.is_finished:
                end = last_border(text, start, self._snap_from(first, room, reached), limit, self._snap)
                if end <= reached:
                    break
            token_ids = tape.encoding(start, end)
            if len(token_ids) <= self._size:
                return end, token_ids
            room = tape.tokens_before(end) - first - (len(token_ids) - self._size)
        return self._smallest(start, reached)

    def _limit(self, start: int, first: int, room: int) -> int:
        """How far `room` tokens from token `first` reach, which is where `start` is."""
        tape, ends, last = self._tape, self._tape.ends, first + room
        longest = start + self._size * _LONGEST_TOKEN
        if last >= len(ends):
            return min(longest, len(tape.text))
        end = ends[last - 1] if room > 0 else start
        if ends[last] == end:  # the next token is a part of the same character
            before = tape.tokens_before(end - 1)
            end = ends[before - 1] if before else start
        return end if end < longest else longest

    def _snap_from(self, first: int, room: int, reached: int) -> int:
        """Where the last quarter of a window begins, at which a good end is looked for."""
        ends, last = self._tape.ends, first + room - room // _SNAP_SHARE - 1
        return ends[last] if last < len(ends) and ends[last] > reached else reached

    def _smallest(self, start: int, reached: int) -> tuple[int, tuple[int, ...]] | None:
        """One character more than what is reached; a part of it when that alone is larger than a window."""
        text = self._tape.text
        ends = [whole_after(text, reached + 1, reached)] + ([reached + 1] if start == reached else [])
        for end in ends:
            token_ids = self._tape.encoding(start, end)
            if len(token_ids) <= self._size:
                return end, token_ids
        return None

    def _next_start(self, start: int, end: int) -> int:
        """Where the next window begins, so that it shares the overlap with this one."""
        tape = self._tape
        earliest = tape.tokens_before(end) - self._overlap
        if not self._overlap or earliest <= 0:
            return end
        begin = max(tape.ends[earliest - 1], start + 1)
        limit = min(tape.ends[earliest + self._overlap // _SNAP_SHARE - 1], end)
        return min(first_border(tape.text, start, begin, max(begin, limit), self._snap), end)
