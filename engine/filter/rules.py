"""Which stretches of a text are sensitive: e-mail addresses, payment cards, phone numbers.

Patterns run in RE2, so time is linear on any input; what needs arithmetic (Luhn, number plans) is
checked only on a candidate. Every match is at most `MAX_SPAN` characters long and depends on at most
`LOOK_BEHIND` characters before it: the streaming filter rests on both.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import phonenumbers
import re2
from stdnum import luhn

MAX_SPAN = 256
LOOK_BEHIND = 48

# RFC 5321: 64 characters before the @; the domain is cut at 190 to stay within MAX_SPAN. Both halves are
# matched on slices of that length around each @, which keeps the work per @ bounded.
_LOCAL_PART, _DOMAIN = 64, 190
_EMAIL_LOCAL = re.compile(r"[\w.%+\-]*$")
_EMAIL_DOMAIN = re.compile(r"(?:[^\W_](?:[^\W_]|-)*\.)+(?:xn--[a-z0-9\-]+|[^\W\d_]{2,})")
# What people put between the digit groups of a card: a few marks, white space, Unicode's dashes, characters
# that do not show. Written out, so that RE2 and the streaming filter agree whatever their Unicode version.
SEPARATORS = (
    "-./_,\uff0e\uff0f\uff3f\uff0c"
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
    "\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c"
    "\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d"
    "\xad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064"
    "\u2066\u2067\u2068\u2069\ufe0e\ufe0f\u20e3\ufeff"
)
_MOST_SEPARATORS = 4
_DIGIT_RUN = re2.compile(f"[0-9](?:[{re.escape(SEPARATORS)}]{{0,{_MOST_SEPARATORS}}}[0-9])*")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_PHONE_LIKE = re2.compile(r"(?:\+|\(\+?|[0-9])[0-9](?:[ \-./()\x{00a0}]{0,3}[0-9]){4,16}")
_NOT_A_PHONE = re.compile(
    r"(?:\d{1,3}\.){3}\d{1,3}$|\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}$"
)
_PHONE_CONTEXT = re.compile(
    r"phone|mobile|\bcell|\bcall|\btel|\btext me|whats ?app|reach me|fax|\bnumber is|"
    r"handy|telefon|móvil|portable",
    re.IGNORECASE,
)
_ORDER_CONTEXT = re.compile(
    r"(?:order|purchase|invoice|tracking|ticket|reference|bestellung)\W{0,3}"
    r"(?:number|no|nr|id|code)?\W{0,3}(?:is|was)?\W{0,3}$",
    re.IGNORECASE,
)
# Where a national number without +prefix may come from. A valid number of a region other than the first
# also needs a trunk 0 or a word like "phone" before it, since short digit groups are valid somewhere.
PHONE_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "DK", "IN")

# Issuer prefixes and their lengths, ISO/IEC 7812 as the networks publish them. (low, high, lengths)
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("6011", "6011", frozenset({16, 17, 18, 19})),  # Discover
    ("644", "659", frozenset({16, 17, 18, 19})),
    ("62", "62", frozenset({16, 17, 18, 19})),  # UnionPay
    ("3528", "3589", frozenset({16, 17, 18, 19})),  # JCB
    ("1800", "1800", frozenset({15})),
    ("2131", "2131", frozenset({15})),
    ("300", "305", frozenset({14, 16, 17, 18, 19})),  # Diners Club
    ("36", "36", frozenset(range(14, 20))),
    ("38", "39", frozenset(range(14, 20))),
    ("50", "50", frozenset(range(12, 20))),  # Maestro
    ("56", "58", frozenset(range(12, 20))),
    ("63", "63", frozenset(range(12, 20))),
    ("67", "67", frozenset(range(12, 20))),
)
_CARD_LENGTHS = range(12, 20)


@dataclass(frozen=True, slots=True)
class Finding:
    """A sensitive stretch `text[start:end]`; `score` in [0, 1], `rule` names what found it."""

    entity: str
    start: int
    end: int
    score: float
    rule: str


def find(text: str, start: int = 0) -> list[Finding]:
    """All sensitive stretches of `text` from `start` on, in order, none overlapping another.

    Offsets count characters. What is before `start` is only looked at. Linear in the length of the text.
    """
    taken: list[Finding] = []
    plain = _with_ascii_digits(text)
    for candidates in (_emails(text), _cards(plain, start), _phones(plain)):
        for finding in candidates:
            if finding.start < start:
                continue
            index = bisect_left(taken, finding.start, key=lambda other: other.start)
            is_free_before = index == 0 or taken[index - 1].end <= finding.start
            is_free_behind = index == len(taken) or finding.end <= taken[index].start
            if is_free_before and is_free_behind:
                taken.insert(index, finding)
    return taken


def normalise(entity: str, value: str) -> str:
    """The same value in one spelling, so that it gets the same placeholder however it is written."""
    if entity == "EMAIL_ADDRESS":
        return value.lower()
    return "".join(str(int(character)) for character in value if character.isdecimal())


def _with_ascii_digits(text: str) -> str:
    """The text, as long as before, with every decimal digit of any script as 0 to 9."""
    return text if text.isascii() else _OTHER_DIGIT.sub(lambda match: str(int(match[0])), text)


def _emails(text: str) -> Iterator[Finding]:
    position, at = 0, text.find("@")
    while at >= 0:
        local = _EMAIL_LOCAL.search(text[max(position, at - _LOCAL_PART) : at])
        domain = _EMAIL_DOMAIN.match(text[at + 1 : at + 1 + _DOMAIN])
        if local and local[0] and domain:
            position = at + 1 + domain.end()
            yield Finding("EMAIL_ADDRESS", at - len(local[0]), position, 1.0, "email")
        at = text.find("@", max(at + 1, position))


def _cards(text: str, start: int) -> Iterator[Finding]:
    for run in _DIGIT_RUN.finditer(text):
        if run.end() - run.start() >= min(_CARD_LENGTHS):
            yield from _cards_in_run(text, run.start(), run.end(), start)


def _cards_in_run(text: str, begin: int, end: int, start: int) -> Iterator[Finding]:
    """Cards that begin and end at a border of a digit group: never the middle of a longer number."""
    groups = [(begin + m.start(), begin + m.end()) for m in re.finditer(r"[0-9]+", text[begin:end])]
    first = bisect_left(groups, (start, 0))
    while first < len(groups):
        last = _longest_card(text, groups, first)
        if last is None:
            first += 1
            continue
        yield Finding("CREDIT_CARD", groups[first][0], groups[last][1], 1.0, "card")
        first = last + 1


def _longest_card(text: str, groups: list[tuple[int, int]], first: int) -> int | None:
    digits, found = "", None
    for last in range(first, len(groups)):
        digits += text[slice(*groups[last])]
        if len(digits) > max(_CARD_LENGTHS):
            break
        if _is_card(digits) and not _is_order_number(text, groups[first][0], digits, last - first + 1):
            found = last
    return found


def _is_card(digits: str) -> bool:
    return (
        len(digits) in _CARD_LENGTHS
        and any(
            low <= digits[: len(low)] <= high and len(digits) in lengths for low, high, lengths in _ISSUERS
        )
        and luhn.is_valid(digits)
    )


def _is_order_number(text: str, start: int, digits: str, groups: int) -> bool:
    """An unspaced number right after "order number" is one, unless it has a card's usual 16 digits."""
    if groups > 1 or len(digits) == 16:
        return False
    return _ORDER_CONTEXT.search(text[max(0, start - LOOK_BEHIND) : start]) is not None


def _phones(text: str) -> Iterator[Finding]:
    for match in _PHONE_LIKE.finditer(text):
        start, end = match.start(), match.end()
        if _is_phone(text, start, end):
            yield Finding("PHONE_NUMBER", start, end, 0.8, "phone")


def _is_phone(text: str, start: int, end: int) -> bool:
    before, candidate = text[max(0, start - LOOK_BEHIND) : start], text[start:end]
    if before[-1:].isalnum() or text[end : end + 1].isalnum() or _NOT_A_PHONE.match(candidate):
        return False
    if candidate.startswith(("+", "(+")):
        return _parses(candidate, None, valid=False)
    if _ORDER_CONTEXT.search(before):
        return False
    in_context = _PHONE_CONTEXT.search(before) is not None
    is_separated = not candidate.isdigit()
    if _parses(candidate, PHONE_REGIONS[0], valid=not (is_separated or in_context)):
        return is_separated or in_context
    if not (in_context or candidate.startswith(("0", "(0"))):
        return False
    return any(_parses(candidate, region, valid=not in_context) for region in PHONE_REGIONS[1:])


def _parses(candidate: str, region: str | None, *, valid: bool) -> bool:
    """Whether the number plan of `region` has such a number (`valid`) or such a length (otherwise)."""
    try:
        number = phonenumbers.parse(candidate, region)
    except phonenumbers.NumberParseException:
        return False
    if valid:
        return phonenumbers.is_valid_number(number)
    reason = phonenumbers.is_possible_number_with_reason(number)
    return bool(reason == phonenumbers.ValidationResult.IS_POSSIBLE)
