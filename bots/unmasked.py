"""A text as a link finder must read it: HTML entities decoded, nothing invisible, one form of each letter.

Each of its characters knows where in the original it stands, so that what is found there can be cut out here.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_MASKED = re.compile(rf"(?P<entity>{_ENTITY})|[\x00-\x08\x0e-\x1f\x7f]|(?P<letters>[^\x00-\x7f]+)")
# Without a glyph, though no control or format characters: fillers, joiners, variation selectors.
_INVISIBLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# Browsers take it for a dot in a host's name; between Latin letters it ends no sentence.
_WIDE_DOT = re.compile(r"(?<=[A-Za-z0-9])。(?=[A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Unmasked:
    """The text that is read, and where in the original each of its characters stands."""

    text: str
    original: str
    _offsets: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]` stands in the original, with what is invisible behind it."""
        low = self._offsets[start] if start < len(self._offsets) else len(self.original)
        high = self._offsets[end] if end < len(self._offsets) else len(self.original)
        return low, max(low, high, self._offsets[end - 1] + 1 if end > start else low)


def unmask(text: str) -> Unmasked:
    """Read a text. Fast where there is nothing to unmask."""
    if _MASKED.search(text) is None:
        return Unmasked(text, text, range(len(text)))
    pieces: list[str] = []
    offsets: list[int] = []
    at = 0
    for masked in _MASKED.finditer(text):
        start, end = masked.span()
        pieces.append(text[at:start])
        offsets.extend(range(at, start))
        _read(masked, pieces, offsets)
        at = end
    pieces.append(text[at:])
    offsets.extend(range(at, len(text)))
    return Unmasked(_WIDE_DOT.sub(".", "".join(pieces)), text, offsets)


def _read(masked: re.Match[str], pieces: list[str], offsets: list[int]) -> None:
    found, start = masked[0], masked.start()
    if masked["letters"] and _is_plain(found):
        pieces.append(found)
        offsets.extend(range(start, masked.end()))
        return
    if masked["entity"]:
        read = "".join(map(_plain, html.unescape(found)))
        pieces.append(read)
        offsets.extend([start] * len(read))
        return
    for number, character in enumerate(found, start):
        read = _plain(character)
        pieces.append(read)
        offsets.extend([number] * len(read))


def _is_plain(letters: str) -> bool:
    return (
        unicodedata.is_normalized("NFKC", letters)
        and letters.isprintable()
        and _INVISIBLE.search(letters) is None
    )


@functools.lru_cache(maxsize=10_000)
def _plain(character: str) -> str:
    if unicodedata.category(character) in {"Cc", "Cf"} and character not in "\t\n\v\f\r":
        return ""
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", character))
