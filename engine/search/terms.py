"""Words: how a text becomes terms. Knows nothing about scores.

Scripts that write no spaces between words are taken two characters at a time, so that no dictionary of words
is needed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# First and last code points. Chinese, Japanese, Thai, Lao, Burmese, Khmer: no spaces between words.
SPACELESS = (
    *((0x3005, 0x3007), (0x3041, 0x3096), (0x309D, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
    *((0x0E01, 0x0E3A), (0x0E40, 0x0E4E), (0x0E81, 0x0EBD), (0x0EC0, 0x0ECD)),
    *((0x1000, 0x103F), (0x1050, 0x108F), (0x1780, 0x17D3)),
)
HANGUL = ((0xAC00, 0xD7A3),)
# Vowels and other signs of Indian scripts, which `\w` takes for the end of a word.
_SIGNS = ((0x0900, 0x0963), (0x0970, 0x0DFF))


def character_class(ranges: Iterable[tuple[int, int]]) -> str:
    """What stands between the brackets of a regular expression's character class."""
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


WORD_CHARACTER = rf"\w{character_class((*SPACELESS, *_SIGNS))}"
"""For a character class. It has the underscore, which is no part of a word."""

# Latin, Greek and Cyrillic letters lose their marks. Others keep theirs: a mark there makes another letter,
# such as か and が.
_LETTERS = (*range(0xC0, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x2000))
# Letters whose mark Unicode does not count as one, and the apostrophe.
_OTHER_SPELLINGS = dict(zip("æœßøđłıς’", ("ae", "oe", "ss", *"odliσ'"), strict=True))
# Marks without a letter of their own, and the vowels that Hebrew and Arabic may leave out.
_LOOSE_MARKS = (*range(0x300, 0x370), *range(0x591, 0x5C8), *range(0x64B, 0x660))


def _unmarked(letter: str) -> str:
    parts = unicodedata.normalize("NFD", letter)
    return "".join(part for part in parts if not unicodedata.combining(part))


_FOLDED = str.maketrans(
    {chr(code): _unmarked(chr(code)) for code in _LETTERS}
    | dict.fromkeys(map(chr, _LOOSE_MARKS), "")
    | _OTHER_SPELLINGS
)


def fold(text: str) -> str:
    """Write `text` in lower case, full-width letters as narrow ones, é as e. The length may change."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).lower().translate(_FOLDED)


_WORD = re.compile(rf"[{WORD_CHARACTER}]+(?:['’][{WORD_CHARACTER}]+)?")
_SPACELESS, _HANGUL = character_class(SPACELESS), character_class(HANGUL)
_PART = re.compile(f"(?P<spaceless>[{_SPACELESS}]+)|(?P<hangul>[{_HANGUL}]+)|[^{_SPACELESS}{_HANGUL}]+")
_DENSE = re.compile(f"[{_SPACELESS}{_HANGUL}]")
# What French and Italian write before an apostrophe says nothing; elsewhere the end does not.
_ELIDED = _listed("l d j m t s n c qu jusqu lorsqu puisqu quelqu un dell all nell dall sull")
_ENDINGS = (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", ""))

# Words that every text has: English, Spanish, French, German. Left out are those that mean something in
# another of these, such as German "die" and "war", Spanish "son" and French "pour".
_STOP = (
    _listed(
        "a an the i you he she it we they me him her us them my your his its our their this that these those "
        "is are was were be been being am do does did done have has had having will would can could shall "
        "should may might must to of in on at by for from with about as into than then there here and or but "
        "if so not no nor what which who whom how when where why please just very too also any some all get "
        "got"
    )
    | _listed(
        "el los las un una unos unas del al y o que en por para se lo su sus mi mis tu tus es esta este "
        "estos estas eso esa ese ser como cuando donde muy pero si ya le les nos yo hay puedo puede"
    )
    | _listed(
        "la une du de et ou qui dans avec sur je il elle nous vous ils elles mon ma mes ta tes sa ses notre "
        "votre vos ce cet cette ces est sont etre avez avons ont suis peut puis ne pas quel quelle quels "
        "quelles"
    )
    | _listed(
        "der das dem ein eine einen einem einer eines und oder aber ich er sie wir ihr mich mir dich dir uns "
        "euch mein meine meinen meinem meiner dein deine ihre ihren ihrem ihrer unser unsere ist sind sein "
        "habe haben kann konnen konnte muss mussen wird werden wurde zu zum zur von vom mit bei aus auf fur "
        "im ins wie wann wo wer welche welcher welches nicht kein keine auch dass wenn"
    )
)


def terms(text: str) -> list[str]:
    """The words of `text`, lower-cased and lightly stemmed (plural, -ing, -ed), in order.

    Accents are kept: German "wurde" and "würde" do not say the same.
    """
    return [stem(word) for word in _WORD.findall(text.lower().replace("_", " "))]


def content_terms(text: str) -> list[str]:
    """What to search by: `terms` without accents, and without the words that every text has.

    Chinese, Japanese, Thai and the like give each two neighbouring characters; Korean its words and those.
    """
    return [term for word in words(text) if (term := content_term(word))]


def words(text: str) -> list[str]:
    """The words of `text`, folded, in order; pairs of characters for scripts that write no spaces."""
    folded = fold(text).replace("_", " ")
    found = _WORD.findall(folded)
    if folded.isascii() or not _DENSE.search(folded):
        return found
    return [piece for word in found for piece in _pieces(word)]


def content_term(word: str) -> str:
    """The term of one of the `words`; "" for one that every text has."""
    if word in _STOP:
        return ""
    term = stem(word)
    return "" if "'" in word and term in _STOP else term


def stem(word: str) -> str:
    """Take a plural's, -ing's or -ed's ending off an English word, and what an apostrophe adds to any."""
    if "'" in word or "’" in word:
        before, _, after = word.replace("’", "'").partition("'")
        word = after if before in _ELIDED else before
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)] + replacement
    return word


def _pieces(word: str) -> Iterator[str]:
    """Cut a word where its script changes, and into pairs of characters where they say enough."""
    for part in _PART.finditer(word):
        if not part["spaceless"]:
            yield part[0]
        if part["spaceless"] or (part["hangul"] and len(part[0]) > 2):
            yield from (part[0][place : place + 2] for place in range(max(1, len(part[0]) - 1)))
