"""A text that is read and encoded block by block, and let go again behind the reader.

Knows encoders and seams; knows nothing of windows. Blocks depend on the text alone, not on the pieces that
it arrives in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from engine.encoding.characters import whole_before
from engine.encoding.encoder import SEAM, SEAM_MARKS, Encoder

# Characters that are encoded at once, and about what a tape holds beside the longest window.
BLOCK = 65_536
# Before a place to cut is looked for in the whole window, it is looked for this near its end.
_NEAR = 48


class Tape:
    """The part of a text between what is done with and what has not been read.

    All positions count characters of `text`; it begins at character `offset` of the whole.
    """

    def __init__(self, pieces: Iterable[str], encoder: Encoder) -> None:
        self._blocks = blocks(pieces)
        self._encoder = encoder
        self._ids: tuple[int, ...] = ()
        self._ends: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        # Borders of blocks that are no seams: tokens beside them are not those of the whole text.
        self._torn: list[int] = []
        self.text = ""
        self.offset = 0
        self.is_finished = False
        self.ends = self._ends.data
        """Where each token ends, rising."""

    def grow(self, keep: int) -> int:
        """Read one more block and drop what is before `keep`; how many characters were dropped."""
        block = next(self._blocks, None)
        if block is None:
            self.is_finished = True
            return 0
        kept = max(keep - 1, 0)  # whether a seam is at `keep` shows in the character before it
        tokens = self.tokens_before(kept)
        encoded = self._encoder.encode(block)
        self._torn = [place - kept for place in self._torn if place > kept]
        held = len(self.text) - kept
        self._ends = np.concatenate((self._ends[tokens:] - kept, encoded.ends + held))
        self.ends = self._ends.data
        self._ids = self._ids[tokens:] + tuple(encoded.ids)
        self.text = self.text[kept:] + block if held else block
        if held and not _is_seam(self.text, held):
            self._torn.append(held)
        self.offset += kept
        return kept

    def tokens_before(self, place: int) -> int:
        """Tokens that end at or before a place."""
        return bisect_right(self.ends, place)

    def encoding(self, start: int, end: int) -> tuple[int, ...]:
        """The tokens of `text[start:end]` alone.

        What is between two seams has the tokens that it has in the whole text. So only the rests outside
        of the first and the last seam are encoded again, if there are any.
        """
        text, encode = self.text, self._encoder.ids
        if not self._encoder.has_seams or (self._torn and self._is_torn(start, end)):
            return tuple(encode(text[start:end]))
        first, last = start, end
        if not self._is_start(start):
            seam = SEAM.search(text, start + 1, end)
            if seam is None:
                return tuple(encode(text[start:end]))
            first = seam.start()
        if not self._is_end(end):
            last = last_seam(text, first, end)
        token = bisect_right(self.ends, first)
        ids = self._ids[token : bisect_right(self.ends, last, token)]
        if first > start:
            ids = tuple(encode(text[start:first])) + ids
        if last < end:
            ids += tuple(encode(text[last:end]))
        return ids

    def _is_torn(self, start: int, end: int) -> bool:
        return any(start < place < end for place in self._torn)

    def _is_start(self, place: int) -> bool:
        """Whether what begins here has the tokens that it has in the whole text.

        Beside seams that is so at the first word of a line: what is before it ends with the line break.
        """
        return self.offset + place == 0 or _is_seam(self.text, place) or _is_word_of_line(self.text, place)

    def _is_end(self, place: int) -> bool:
        """Whether what ends here has the tokens that it has in the whole text.

        A single line break is one word, whatever follows; several may be cut into words in another way.
        """
        text = self.text
        if place == len(text):
            return self.is_finished
        if _is_seam(text, place):
            return True
        return place > 1 and _is_word_of_line(text, place) and not text[place - 2].isspace()


def _is_seam(text: str, place: int) -> bool:
    if text[place] == " ":  # most often, and faster than the expression
        return not text[place - 1].isspace()
    return text[place] in SEAM_MARKS and SEAM.match(text, place) is not None


def _is_word_of_line(text: str, place: int) -> bool:
    """Whether a line begins here, and not with a slash, which some ways to find words add to line breaks."""
    return text[place - 1] == "\n" and not text[place].isspace() and text[place] != "/"


def blocks(pieces: Iterable[str]) -> Iterator[str]:
    """The text of the pieces in blocks of at most `BLOCK` characters, cut at seams where there are any."""
    held: list[str] = []
    length = 0
    for piece in pieces:
        for first in range(0, len(piece), BLOCK):
            held.append(piece[first : first + BLOCK])
            length += len(held[-1])
            if length <= BLOCK:
                continue
            text = "".join(held)
            while len(text) > BLOCK:
                cut = _block_end(text)
                yield text[:cut]
                text = text[cut:]
            held, length = [text], len(text)
    if length:
        yield "".join(held)


def _block_end(text: str) -> int:
    """Where to cut a text that is longer than a block."""
    seam = last_seam(text, BLOCK // 2, BLOCK)
    return seam if seam > BLOCK // 2 else whole_before(text, BLOCK, BLOCK // 2)


def last_seam(text: str, first: int, end: int) -> int:
    """The last seam between two places; `first` if there is none."""
    space = text.rfind(" ", max(first + 1, end - _NEAR), end)
    if space > 0 and not text[space - 1].isspace():  # most often, and much faster
        return space
    for begin in (max(first, end - _NEAR), first):
        if found := [seam.start() for seam in SEAM.finditer(text, begin + 1, end)]:
            return found[-1]
    return first
