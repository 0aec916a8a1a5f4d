"""Characters as people see them: an emoji, a flag, a letter with its marks. A leaf."""

from __future__ import annotations

import unicodedata

# A longer run of marks is no character that anybody reads.
LONGEST_CHARACTER = 40

# They extend what is before them, though no marks: joiners, and vowels of Thai, Lao and narrow Japanese.
_EXTENDERS = frozenset("\u200c\u200d\u0e33\u0eb3\uff9e\uff9f")
_FIRST_MARK = "\u0300"


def continues(text: str, at: int, begin: int = 0) -> bool:
    """Whether the code point at `at` continues the character before it, which is not before `begin`.

    The rules of Unicode's annex 29 that matter for what people write, without its tables.
    """
    code, before = text[at], text[at - 1]
    if code < _FIRST_MARK and before < _FIRST_MARK:
        return before == "\r" and code == "\n"
    if before in "\r\n":
        return False
    return (
        unicodedata.category(code).startswith("M")  # marks and variation selectors
        or code in _EXTENDERS
        or before == "\u200d"
        or "\U0001f3fb" <= code <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= code <= "\U000e007f"  # the letters in a region's flag
        or (_is_flag_half(code) and _flag_halves(text, at, begin) % 2 == 1)
        or (_is_later_jamo(code) and _is_hangul(before))
    )


def whole_before(text: str, cut: int, begin: int = 0) -> int:
    """The last place between characters at or before `cut` and after `begin`; `cut` if there is none."""
    earlier = cut
    while earlier > begin + 1 and cut - earlier < LONGEST_CHARACTER and _is_within(text, earlier, begin):
        earlier -= 1
    return cut if _is_within(text, earlier, begin) else earlier


def whole_after(text: str, cut: int, begin: int = 0) -> int:
    """The first place at or after `cut` that is between characters."""
    later = cut
    while later - cut < LONGEST_CHARACTER and _is_within(text, later, begin):
        later += 1
    return later


def _is_within(text: str, at: int, begin: int) -> bool:
    return begin < at < len(text) and continues(text, at, begin)


def _is_flag_half(code: str) -> bool:
    return "\U0001f1e6" <= code <= "\U0001f1ff"


def _flag_halves(text: str, at: int, begin: int) -> int:
    """How many stand right before `at`: two are a flag."""
    first = at
    while first > begin and _is_flag_half(text[first - 1]):
        first -= 1
    return at - first


def _is_later_jamo(code: str) -> bool:
    """A vowel or final consonant of a Korean syllable."""
    return "\u1160" <= code <= "\u11ff" or "\ud7b0" <= code <= "\ud7fb"


def _is_hangul(code: str) -> bool:
    return "\u1100" <= code <= "\u11ff" or "\ua960" <= code <= "\ua97c" or "\uac00" <= code <= "\ud7fb"
