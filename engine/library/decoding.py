"""Bytes of a text file to its text: UTF-8, UTF-16 and UTF-32 by their marks, else an older encoding."""

from __future__ import annotations

import codecs
import re
import unicodedata

from engine.errors import UnreadableDocument

# UTF-32's mark begins with that of UTF-16, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What help pages are written in where they are not UTF-8; of two that fit alike the first is taken.
_OLDER = ("cp1252", "cp1250", "cp1251", "cp1253", "koi8_r", "cp932", "euc_jp", "gb18030", "big5", "euc_kr")
# Lines of another encoding that happen to be UTF-8 as well are rarer than this.
_ACCIDENTS = 0.05
_MOST_CONTROLS = 0.01
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def decode(content: bytes) -> str:
    """The text, without a byte order mark and with `\\n` as its line ends.

    Raises `UnreadableDocument` for binary data, for an encoding that cannot be told, and for a file whose
    lines are in several; that one names the first line that is not UTF-8.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _checked(_strictly(content[len(mark) :], encoding))
    if b"\0" in content:
        raise UnreadableDocument("binary, no text")
    try:
        return _checked(content.decode())
    except UnicodeDecodeError as error:
        _refuse_mixed(content, error.start)
    return _checked(_decode_older(content))


def _strictly(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableDocument(f"it begins as {encoding} and is none: save it as UTF-8") from error


def _refuse_mixed(content: bytes, first_wrong: int) -> None:
    lines = [line for line in content.split(b"\n") if _NOT_ASCII.search(line)]
    if sum(map(_is_utf8, lines)) > _ACCIDENTS * len(lines):
        number = content.count(b"\n", 0, first_wrong) + 1
        raise UnreadableDocument(
            f"mixed encodings: line {number} is not UTF-8, other lines are; save the whole file as UTF-8"
        )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_older(content: bytes) -> str:
    from charset_normalizer import from_bytes  # few files need it

    matches = list(from_bytes(content, cp_isolation=list(_OLDER), enable_fallback=False))
    if not matches:
        raise UnreadableDocument("its encoding cannot be told: save it as UTF-8")
    best = min(matches, key=lambda match: (match.chaos, -match.coherence, _OLDER.index(match.encoding)))
    return str(best)


def _checked(text: str) -> str:
    """`text`, unless what decodes is no text all the same."""
    controls = sum(unicodedata.category(character) == "Cc" for character in text if not character.isspace())
    if controls > _MOST_CONTROLS * len(text):
        raise UnreadableDocument("binary, no text")
    return text.replace("\r\n", "\n").replace("\r", "\n")
