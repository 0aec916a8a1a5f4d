"""Bare addresses: what a platform makes a link of by itself, with and without a scheme.

Time grows with the length of the text only: each pattern begins at the beginning of a word, or looks at few
characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import unquote

from bots.addresses import FILE_ENDINGS, TOP_LEVEL

# A letter or digit of a host's name. Scripts that are written without spaces are left out: there an address
# begins in the middle of what else looks like a word.
LETTER = (
    r"[^\x00-\x2c\x2e\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u02c2-\u036f"
    r"\u037e\u0387\u055a-\u055f\u0589\u058a\u05be\u05c0-\u05c6\u05f3\u05f4\u0600-\u061f\u066a-\u066d\u06d4"
    r"\u0700-\u070f\u0964\u0965\u0e00-\u1dff\u2000-\U0010ffff]"
)
_RUN = r"(?:\[[0-9a-fA-F:.%]*\])?[^\s<>\"`|\[\]“”„«»「」『』【】《》〈〉、。]*"
_TAIL = rf"(?::\d{{1,5}}(?!\d))?(?:\.(?=[/?#:]))?(?P<path>\\?[/?#]{_RUN})?"
_BARE = re.compile(
    # First of all a fast no to most of what is written without spaces.
    r"(?![\u0e00-\u1dff\u2000-\U0010ffff])(?:"
    rf"(?:https?|ftps?|sftp|wss?|file)\\?:[\\/]+{_RUN}"
    rf"|https?:(?=[^\s/\\.]{{1,253}}\.[^\s.]){_RUN}"
    rf"|(?<![a-z0-9+-])[a-z][a-z0-9+-]{{1,40}}\\?:[\\/]{{2}}{_RUN}"
    r"|(?<![a-z0-9+-])(?:(?:javascript|vbscript|mailto|magnet|blob|sips?|callto|xmpp|view-source):(?=\S)"
    rf"|(?:tel|sms):(?=[+\d(])|data:(?=[a-z0-9.+-]*[;,/])){_RUN}"
    rf"|(?<![:\w/\\])[\\/]{{2}}(?=[\w-]{{1,63}}\\?[.:%]){_RUN}"
    rf"|(?<!{LETTER})(?:(?P<user>[\w.+%-]{{1,64}})@)?"
    rf"(?P<host>{LETTER}+(?:\\?\.{LETTER}+)+){_TAIL}"
    # A name in a script without spaces: from its last dot on.
    rf"|(?<=[\u0e00-\u1dff\u2e80-\uffef])\.(?P<end>[a-z][a-z-]{{1,23}})(?!{LETTER})(?P<last_path>[/?#]{_RUN})?)",
    re.IGNORECASE,
)
# Words that hold no address are most words, and passed over fast.
_WORD = re.compile(r"(?<!\S)[^\s.:/\\%]*+[.:/\\%]\S*+")
_HINT = re.compile(r"\.[^\s.]|:[\\/\w+(,;%]|[\\/]{2}|%[0-9a-fA-F]{2}|www\.", re.IGNORECASE)
_SECOND = re.compile(r"(?<=[,;)}'*_~!])[a-z][a-z0-9+-]{1,40}://", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(?=[!-.:-@\[\]^-`{-~])")
_HEX = re.compile(r"%[0-9a-fA-F]{2}")
_CLOSERS = ".,;:!?'\"]}*_~>|\\…"


@dataclass(frozen=True, slots=True)
class BareLink:
    """An address at `text[start:end]`. It may stay where one of its readings may; without any it may not."""

    readings: tuple[str, ...]
    start: int
    end: int


def bare_links(text: str) -> Iterator[BareLink]:
    """All bare addresses of a text without entities and invisible characters, in order."""
    for word in _WORD.finditer(text):
        if _HINT.search(word[0]):
            start, end = word.span()
            found = list(_in_word(text, start, end))
            yield from found
            if "%" in word[0]:
                yield from _encoded(text, start, end, found)


def _in_word(text: str, start: int, end: int) -> Iterator[BareLink]:
    """The addresses of a stretch without white space."""
    edges = [start, *(second.start() for second in _SECOND.finditer(text, start, end)), end]
    for low, high in pairwise(edges):
        yield from _in_piece(text, low, high)


def _in_piece(text: str, start: int, end: int) -> Iterator[BareLink]:
    at = start
    while found := _BARE.search(text, at, end):
        at = found.end()
        if found["end"]:
            if found["end"].lower() in TOP_LEVEL or found["last_path"]:
                yield _bare(text, _name_start(text, found.start(), start), at)
        elif found["host"] is None or _is_host(found):
            yield _address(text, found.start(), at)


def _name_start(text: str, dot: int, start: int) -> int:
    while dot > start and text[dot - 1].isalnum():
        dot -= 1
    return dot


def _is_host(found: re.Match[str]) -> bool:
    """Whether a word with dots in it is likely to become a link."""
    host = found["host"].replace("\\", "").lower()
    ending = host.rpartition(".")[2]
    if ending.isdigit():
        return (
            bool(found["path"] or ":" in found[0])
            and re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", host) is not None
        )
    if len(ending) < 2 or not ending.replace("-", "").isalnum() or ending[0].isdigit():
        return False
    if host.startswith("www.") or ending in TOP_LEVEL or ending.startswith("xn--"):
        return True
    return ending not in FILE_ENDINGS and bool(found["path"] or found["user"])


def _address(text: str, start: int, end: int) -> BareLink:
    """An address, without the punctuation that ends the sentence it is in.

    In scripts without spaces it ends where they begin, unless that would cut through the host's name.
    """
    end = _trimmed(text, start, end)
    foreign = next((at for at in range(start, end) if text[at] >= "\u0e00"), end)
    if (
        foreign < end
        and re.search("[a-z0-9]", re.split("[/?#]", text[foreign:end])[0], re.IGNORECASE) is None
    ):
        return _bare(text, start, _trimmed(text, start, foreign), text[start:end])
    return _bare(text, start, end)


def _bare(text: str, start: int, end: int, *more: str) -> BareLink:
    return BareLink((*_readings(text[start:end]), *more), start, end)


def _readings(address: str) -> tuple[str, ...]:
    """What an address leads to; nothing, where that depends on who reads its backslashes.

    Markdown drops them before punctuation, browsers take them for slashes: in a path both stay on one host.
    """
    host, slash, path = address.removeprefix("https://").removeprefix("http://").partition("/")
    if "\\" not in address:
        return (address,)
    plain = _ESCAPE.sub("", slash + path)
    return () if "\\" in host + plain else (address.removesuffix(slash + path) + plain,)


def _trimmed(text: str, start: int, end: int) -> int:
    surplus = text.count(")", start, end) - text.count("(", start, end)
    while end > start:
        if text[end - 1] == ")" and surplus > 0:
            surplus -= 1
        elif text[end - 1] not in _CLOSERS:
            return end
        end -= 1
    return end


def _encoded(text: str, start: int, end: int, found: Iterable[BareLink]) -> Iterator[BareLink]:
    """An address that is hidden by `%2F` and the like outside of those found."""
    edges = [start, *(edge for one in found for edge in (one.start, one.end)), end]
    for low, high in list(pairwise(edges))[::2]:
        if _HEX.search(text, low, high):
            decoded = unquote(unquote(text[low:high]))
            if any(True for _ in _in_word(decoded, 0, len(decoded))):
                yield _bare(text, low, _trimmed(text, low, high))
