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
_DIGIT_RUN = re2.compile(r"[0-9](?:[ \-.\x{00a0}\x{2010}-\x{2015}]{0,3}[0-9])*")
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


def find(text: str) -> list[Finding]:
    """All sensitive stretches of `text`, in order, none overlapping another.

    Offsets count characters. Linear in the length of the text.
    """
    taken: list[Finding] = []
    for candidates in (_emails(text), _cards(text), _phones(text)):
        for finding in candidates:
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
    return "".join(character for character in value if character.isdigit())


def _emails(text: str) -> Iterator[Finding]:
    position, at = 0, text.find("@")
    while at >= 0:
        local = _EMAIL_LOCAL.search(text[max(position, at - _LOCAL_PART) : at])
        domain = _EMAIL_DOMAIN.match(text[at + 1 : at + 1 + _DOMAIN])
        if local and local[0] and domain:
            position = at + 1 + domain.end()
            yield Finding("EMAIL_ADDRESS", at - len(local[0]), position, 1.0, "email")
        at = text.find("@", max(at + 1, position))


def _cards(text: str) -> Iterator[Finding]:
    for run in _DIGIT_RUN.finditer(text):
        if run.end() - run.start() >= min(_CARD_LENGTHS):
            yield from _cards_in_run(text, run.start(), run.end())


def _cards_in_run(text: str, start: int, end: int) -> Iterator[Finding]:
    """Cards that begin and end at a border of a digit group: never the middle of a longer number."""
    groups = [(start + m.start(), start + m.end()) for m in re.finditer(r"[0-9]+", text[start:end])]
    first = 0
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
