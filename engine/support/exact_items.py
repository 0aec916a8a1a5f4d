"""Numbers, dates, times and addresses in one notation, so that they can be compared exactly.

"€5", "5 EUR" and "five euros" are one item, and so are "2 pm" and "14:00", "two weeks" and "14 days",
"15 November" and "November 15th". Business days are no days, and a month is no number of days.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.support.word_lists import listed

Bound = Literal["", "least", "most"]


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, sign or address of a text, at `text[start:end]`."""

    text: str
    """Lower case."""
    kind: str
    """`word`, `number`, `time`, `date`, `link`, `phone`, `unit` or `sign`."""
    start: int
    end: int
    is_capital: bool = False
    count: float = 0.0
    """Of a number: as it is written; of a time: minutes since midnight."""
    unit: str = ""
    """Of a number: what it counts, in one spelling; "" when that is no known unit."""
    factor: float = 1.0
    """How many of `unit` one of what was written is: 7 days for a week."""
    bound: Bound = ""
    """Of a number or time: whether it is given as the least or the most."""
    is_range: bool = False
    """Of a number or time: whether another one is the range's other end."""

    @property
    def is_item(self) -> bool:
        return self.kind in {"number", "time", "date", "link", "phone"}


# Bounded, so that no text makes it slow: RFC 5321 gives an address' local part 64 characters.
_TOKEN = re.compile(
    r"(?P<link>https?://\S{1,2000}|www\.\S{1,2000}|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})"
    r"|(?P<phone>\+\d[\d ()/-]{5,20}\d)"
    r"|(?P<date>(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)|(?<!\d)\d{1,2}[./]\d{1,2}[./]\d{2,4}(?!\d))"
    r"|(?P<time>(?<!\d)\d{1,2}:\d{2}(?::\d{2})?(?!\d)(?:\s?[ap]\.?m\b\.?)?"
    r"|(?<![\d.,])\d{1,2}\s?(?:[ap]\.?m\b\.?|o['’]clock\b))"
    r"|(?P<number>\d{1,30}(?:[.,]\d{1,30}){0,8})(?:st|nd|rd|th)?(?![^\W\d_])"
    r"|(?P<word>[^\W_]{1,64}(?:['’][^\W_]{1,16})?)"
    r"|(?P<sign>[€$£¥%,;:()–—?!.\n-]|[。！？，；：])",
    re.IGNORECASE,
)
_UNITS = {
    form: unit
    for unit, forms in {
        ("second", 1.0): "second seconds sec secs",
        ("second", 60.0): "minute minutes min mins",
        ("second", 3600.0): "hour hours hr hrs h",
        ("second", 86400.0): "day days",
        ("second", 604800.0): "week weeks",
        ("second", 1209600.0): "fortnight",
        ("business day", 1.0): "workday workdays weekday weekdays",
        ("month", 1.0): "month months",
        ("month", 3.0): "quarter quarters",
        ("month", 12.0): "year years",
        ("eur", 1.0): "€ eur euro euros",
        ("usd", 1.0): "$ usd dollar dollars",
        ("gbp", 1.0): "£ gbp pound pounds",
        ("jpy", 1.0): "¥ jpy yen",
        ("chf", 1.0): "chf franc francs",
        ("dkk", 1.0): "dkk krone kroner",
        ("%", 1.0): "% percent",
        ("gram", 1.0): "g gram grams",
        ("gram", 1000.0): "kg kilo kilos kilogram kilograms",
        ("metre", 0.001): "mm",
        ("metre", 0.01): "cm centimetre centimetres centimeter centimeters",
        ("metre", 1.0): "m metre metres meter meters",
        ("metre", 1000.0): "km kilometre kilometres kilometer kilometers",
        ("byte", 1e3): "kb",
        ("byte", 1e6): "mb megabyte megabytes",
        ("byte", 1e9): "gb gigabyte gigabytes",
        ("litre", 1.0): "l litre litres liter liters",
        ("degree", 1.0): "° degree degrees °c",
        ("time", 1.0): "times",
    }.items()
    for form in forms.split()
}
_MONTHS = {
    form: number
    for number, forms in enumerate(
        [
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sep sept",
            "october oct",
            "november nov",
            "december dec",
        ],
        1,
    )
    for form in forms.split()
}
_SMALL = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = listed("twenty thirty forty fifty sixty seventy eighty ninety")
_NUMBERS = {word: float(value) for value, word in enumerate(_SMALL)} | {
    word: 10.0 * value for value, word in enumerate(_TENS, 2)
}
_FACTORS = {"hundred": 100.0, "thousand": 1e3, "million": 1e6}
# Between a number and what it counts.
_SKIPPED = frozenset(listed("full whole calendar more further consecutive other different additional"))
_BUSINESS = frozenset(listed("business working work"))
_MOST = (
    "up to,at most,no more than,not more than,a maximum of,maximum,max,less than,"
    "fewer than,under,below,within,until,till,by,before,no later than,not later than,as many as,at the latest"
)
_LEAST = (
    "at least,a minimum of,minimum,min,more than,over,above,after,from,since,starting at,start at,"
    "no less than,not less than"
)
_LEAST_BEHIND = (
    "or more,and more,and above,or above,or over,and over,or longer,at least,upwards,plus,characters or more"
)
_MOST_BEHIND = "or less,or fewer,at most,at the latest,or below"
_LOOK_BACK = 4
_LOOK_AHEAD = 4


def tokens(text: str, start: int = 0) -> list[Token]:
    """The tokens of a text from `start` on, in order, numbers with their units."""
    found = [_token(match) for match in _TOKEN.finditer(text, start)]
    return _with_bounds(_with_units(_with_dates(_with_number_words(found))))


def _token(match: re.Match[str]) -> Token:
    kind, raw = match.lastgroup or "word", match[0]
    token = Token(raw.lower(), kind, *match.span())
    match kind:
        case "link":
            return replace(
                token, text=raw.lower().removeprefix("https://").removeprefix("www.").rstrip("/.,;:!?)\"'")
            )
        case "phone":
            return replace(token, text=re.sub(r"\D", "", raw))
        case "date":
            return replace(token, text=_numeric_date(raw))
        case "time":
            return replace(token, count=_minutes(raw.lower()))
        case "number":
            return replace(token, count=_value(match["number"]))
        case "word":
            return replace(token, is_capital=raw != raw.lower())
    return token


def _numeric_date(raw: str) -> str:
    """Year, month and day where their order is plain, else the digits as they stand."""
    parts = [int(part) for part in re.split(r"\D", raw)]
    if parts[0] > 31:
        return "{}-{}-{}".format(*parts)
    day, month, year = parts
    return f"{year + 2000 * (year < 100)}-{month}-{day}" if "." in raw or day > 12 else raw


def _minutes(raw: str) -> float:
    """Minutes since midnight."""
    hours, _, rest = re.sub(r"[^\d:]", "", raw).partition(":")
    hour = int(hours)
    if "p" in raw and hour < 12:
        hour += 12
    if "a" in raw and hour == 12:
        hour = 0
    return hour * 60 + float((rest or "0").split(":")[0])


def _value(raw: str) -> float:
    """A number's value, whether its decimals follow a dot or a comma."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", raw):
        raw = raw.replace(",", "")
    elif re.fullmatch(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d+,\d+", raw):
        raw = raw.replace(".", "").replace(",", ".")
    try:
        return float(raw)
    except ValueError:  # "1.2.3": a version
        return float(int("".join(filter(str.isdigit, raw))))


def _with_number_words(found: Sequence[Token]) -> list[Token]:
    """Number words as numbers; "one" only where it counts something."""
    made: list[Token] = []
    for place, token in enumerate(found):
        following = [other.text for other in found[place + 1 : place + 4]]
        before = made[-1] if made else None
        if token.text in _FACTORS and before and before.kind == "number":
            made[-1] = replace(before, count=before.count * _FACTORS[token.text], end=token.end)
        elif token.text in _FACTORS:
            made.append(replace(token, kind="number", count=_FACTORS[token.text]))
        elif token.text == "half" and following[:1] in (["a"], ["an"]) and len(following) > 1:
            made.append(replace(token, kind="number", count=0.5))
        elif token.text in {"a", "an", "one"} and before and before.kind == "number" and before.count == 0.5:
            continue
        elif token.text in {"a", "an", "one"}:
            is_count = _is_unit(following) and (token.text == "one" or (before and before.text in _SPANS))
            made.append(replace(token, kind="number", count=1.0) if is_count else token)
        elif token.text == "twice" or (
            token.text == "once" and following[:1] in (["a"], ["an"], ["per"], ["every"])
        ):
            made.append(
                replace(token, kind="number", count=2.0 if token.text == "twice" else 1.0, unit="time")
            )
        elif token.text in _NUMBERS and token.text != "one":
            made.append(replace(token, kind="number", count=_NUMBERS[token.text]))
        else:
            made.append(token)
        if len(made) > 2 and made[-2].text == "-" and made[-1].count < 10 and made[-3].text in _TENS:
            tens = made[-3]
            made[-3:] = [replace(tens, count=tens.count + made[-1].count, end=made[-1].end)]
    return made


_SPANS = frozenset(listed("within in after for takes take lasts last than about"))


def _is_unit(following: Sequence[str]) -> bool:
    following = [word for word in following if word not in _SKIPPED]
    return bool(following) and (following[0] in _UNITS or following[0] in _BUSINESS)


def _with_dates(found: Sequence[Token]) -> list[Token]:
    """A day and a month beside each other as one date."""
    made: list[Token] = []
    for token in found:
        before = made[-1] if made else None
        month = _MONTHS.get(token.text, 0) if token.is_capital else 0
        if month and before and before.text == "of" and len(made) > 1:
            before = made[-2]
        if month and before and before.kind == "number" and before.count <= 31:
            del made[made.index(before, len(made) - 2) :]
            made.append(replace(token, kind="date", text=f"{month}-{before.count:.0f}", start=before.start))
        elif month:
            made.append(replace(token, kind="date", text=f"{month}-"))
        elif token.kind == "number" and before and before.kind == "date" and before.text.endswith("-"):
            made[-1] = replace(before, text=f"{before.text}{token.count:.0f}", end=token.end)
        else:
            made.append(token)
    return made


def _with_units(found: Sequence[Token]) -> list[Token]:
    """Numbers multiplied out in the unit behind them, or the currency before them."""
    made = list(found)
    for place in range(len(made) - 1, -1, -1):
        token = made[place]
        if token.kind == "number" and not token.unit:
            unit, factor = _unit(made, place)
            made[place] = replace(token, unit=unit, factor=factor)
            other = _range_start(made, place)
            if other is not None:
                start = made[other]
                made[place] = replace(made[place], is_range=True)
                made[other] = replace(start, is_range=True)
        elif token.kind == "time" and (other := _range_start(made, place)) is not None:
            made[place], made[other] = replace(token, is_range=True), replace(made[other], is_range=True)
    return made


def _unit(found: list[Token], place: int) -> tuple[str, float]:
    """What a number counts. The words that say so become units, which carry no meaning of their own."""
    first = (
        place
        + 1
        + (place + 1 < len(found) and found[place + 1].text == "-" and not _is_number(found, place + 2))
    )
    ahead = [n for n in range(first, min(first + 4, len(found))) if found[n].text not in _SKIPPED]
    words = [found[n].text for n in ahead]
    if words and words[0] in {"a", "an"} and found[place].count == 0.5:
        ahead, words = ahead[1:], words[1:]
    if len(words) > 1 and words[0] in _BUSINESS and words[1] in _UNITS:
        _consume(found, ahead[:2])
        return f"business {words[1].rstrip('s')}", 1.0
    if words and words[0] in _UNITS:
        _consume(found, ahead[:1])
        return _UNITS[words[0]]
    if place and _UNITS.get(found[place - 1].text, ("",))[0] in _CURRENCIES:
        unit = _UNITS[found[place - 1].text]
        _consume(found, [place - 1])
        return unit
    if len(words) > 1 and words[0] in _RANGE and found[ahead[1]].kind == "number":
        return found[ahead[1]].unit, found[ahead[1]].factor
    return "", 1.0


def _is_number(found: Sequence[Token], place: int) -> bool:
    return place < len(found) and found[place].kind == "number"


def _consume(found: list[Token], places: Sequence[int]) -> None:
    for place in places:
        found[place] = replace(found[place], kind="unit")


_CURRENCIES = frozenset(listed("eur usd gbp jpy chf dkk"))
_RANGE = frozenset(listed("- – — to and till until or bis"))


def _range_start(found: Sequence[Token], place: int) -> int | None:
    if place > 1 and found[place - 1].text in _RANGE and found[place - 2].kind == found[place].kind:
        return place - 2
    return None


def _with_bounds(found: Sequence[Token]) -> list[Token]:
    made = list(found)
    for place, token in enumerate(made):
        if token.kind in {"number", "time", "date"} and not token.is_range:
            before = " ".join(other.text for other in made[max(0, place - _LOOK_BACK) : place])
            behind = " ".join(other.text for other in made[place + 1 : place + 1 + _LOOK_AHEAD])
            made[place] = replace(token, bound=_bound(f" {before}", f"{behind} "))
    return made


def _bound(before: str, behind: str) -> Bound:
    if any(before.endswith(f" {cue}") for cue in _MOST.split(",")):
        return "most"
    if any(before.endswith(f" {cue}") for cue in _LEAST.split(",")):
        return "least"
    if any(f"{cue} " in behind for cue in _LEAST_BEHIND.split(",")):
        return "least"
    return "most" if any(f"{cue} " in behind for cue in _MOST_BEHIND.split(",")) else ""


def is_equal(one: Token, other: Token) -> bool:
    """Whether two items say the same; a number whose unit is not known may count anything."""
    if {one.kind, other.kind} == {"time", "number"}:  # "open from 9 to 18"
        time, number = (one, other) if one.kind == "time" else (other, one)
        return not number.unit and time.count == number.count * 60
    if one.kind != other.kind:
        return False
    if one.kind == "time":
        return one.count == other.count
    if one.kind != "number":
        return one.text == other.text
    if one.unit and other.unit:
        return one.unit == other.unit and math.isclose(one.count * one.factor, other.count * other.factor)
    return one.count == other.count
