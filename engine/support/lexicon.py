"""What words mean to the support check: roots, groups of synonyms, opposites, and kinds of things.

The lists are files in `engine/data/words`, to be read and extended. They are about customer service in
general and know nothing of any page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from engine.search.terms import terms
from engine.support.word_lists import listed

_WORDS = Path(__file__).parents[1] / "data" / "words"
_IRREGULAR = {
    form: base
    for base, forms in {
        "buy": "bought",
        "send": "sent",
        "pay": "paid",
        "get": "got gotten getting",
        "take": "took taken",
        "give": "gave given",
        "keep": "kept",
        "choose": "chose chosen choice",
        "find": "found",
        "lose": "lost loss",
        "make": "made",
        "sell": "sold",
        "tell": "told",
        "write": "wrote written",
        "know": "knew known",
        "show": "shown",
        "see": "saw seen",
        "begin": "began begun",
        "come": "came",
        "go": "went gone",
        "leave": "left",
        "hold": "held",
        "put": "putting",
        "use": "used uses using usage",
        "after": "afterwards afterward",
        "bring": "brought",
        "break": "broke broken",
        "speak": "spoke spoken",
        "say": "said",
        "spend": "spent",
        "think": "thought",
        "meet": "met",
        "become": "became",
        "hear": "heard",
        "ship": "shipment",
        "die": "dying",
        "receive": "receipt reception",
        "deliver": "delivery",
        "pay ": "payment",
        "weigh": "weight",
        "knife": "knives",
        "person": "people",
        "sign-in": "signin",
        "country": "countries",
        "swap": "swapped",
        "throw": "threw thrown",
        "run": "ran",
        "sign": "signed signing",
        "lie": "lying",
        "wear": "wore worn",
        "refer": "referred",
    }.items()
    for form in forms.split()
}
_NEGATED = ("un", "in", "im", "dis", "non", "ir")
# Words of one family share this many letters, and end in one of these. "er" and "ant" make another word.
_FAMILY_LETTERS = 5
_BARE_ENDS = frozenset(["", "e", "i", "y", "at", "t"])
_ENDS = frozenset(
    listed(
        "i y e al ation ion lation at ment abl ibl ly li al ity iti anc enc ic ical icalli ive iv "
        "ful ness ization "
        "ing ed es ication icat ition th"
    )
)


@cache
def root(word: str) -> str:
    """The form under which a lower-case word is compared: "shipped", "ships" and "shipping" are "ship"."""
    word = _IRREGULAR.get(word, word).strip()
    stem = "".join(terms(word)) or word
    if len(stem) > 4 and stem[-1] == stem[-2]:
        stem = stem[:-1]
    return stem[:-1] + "i" if len(stem) > 2 and stem.endswith("y") else stem


_AGAIN = frozenset(
    map(
        root, listed("restart resend reorder reopen reship resubmit reapply reactivate recreate resell reuse")
    )
)


def is_family(one: str, other: str) -> bool:
    """Whether two roots are forms of one word: "cancel" and "cancellation"."""
    if {one, other} & _AGAIN and (f"re{one}" == other or f"re{other}" == one):  # "restart" is "start again"
        return True
    pairs = enumerate(zip(one, other, strict=False))
    shared = next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))
    short, long = sorted((one[shared:], other[shared:]), key=len)
    return shared >= _FAMILY_LETTERS and short in _BARE_ENDS and long in _ENDS


def is_negated_form(one: str, other: str) -> bool:
    """Whether one root is the other with a prefix that denies: "unused" and "use"."""
    short, long = sorted((one, other), key=len)
    return len(short) > 2 and any(long == prefix + short for prefix in _NEGATED)


@dataclass(frozen=True)
class Lexicon:
    """Groups, opposites and kinds by root; phrases of several words have a root of their own."""

    groups: dict[str, frozenset[int]]
    opposites: dict[str, frozenset[str]]
    kinds: dict[str, frozenset[int]]
    phrases: dict[str, list[tuple[str, ...]]] = field(repr=False)
    """By first root, the longest first; "~" stands between a verb and its particle."""

    def is_same(self, one: str, other: str) -> bool:
        return not self.groups.get(one, frozenset()).isdisjoint(self.groups.get(other, frozenset()))

    def is_opposite(self, one: str, other: str) -> bool:
        return other in self.opposites.get(one, ()) or is_negated_form(one, other)

    def is_rival(self, one: str, other: str) -> bool:
        """Whether both are things of one kind, so that one excludes the other."""
        return one != other and not self.kinds.get(one, frozenset()).isdisjoint(
            self.kinds.get(other, frozenset())
        )

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset(self.groups) | frozenset(self.opposites) | frozenset(self.kinds)


@cache
def lexicon() -> Lexicon:
    """The lists, read once."""
    groups, kinds = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)
    opposites = defaultdict[str, set[str]](set)
    phrases = set[tuple[str, ...]]()
    for number, (line,) in enumerate(_lines("synonyms")):
        for phrase in line:
            groups[_entered(phrase, phrases)].add(number)
    for number, (line,) in enumerate(_lines("kinds")):
        for phrase in line:
            kinds[_entered(phrase, phrases)].add(number)
    for left, right in _lines("opposites"):
        for one in (_entered(phrase, phrases) for phrase in left):
            for other in (_entered(phrase, phrases) for phrase in right):
                opposites[one].add(other)
                opposites[other].add(one)
    by_first = defaultdict[str, list[tuple[str, ...]]](list)
    for words in sorted(phrases, key=lambda words: -len(words)):
        by_first[words[0]].append(words)
    return Lexicon(
        {word: frozenset(found) for word, found in groups.items()},
        {word: frozenset(found) for word, found in opposites.items()},
        {word: frozenset(found) for word, found in kinds.items()},
        dict(by_first),
    )


def _lines(name: str) -> Iterator[list[list[str]]]:
    for line in (_WORDS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield [[phrase.strip() for phrase in side.split(",")] for side in line.split("|")]


def _entered(phrase: str, phrases: set[tuple[str, ...]]) -> str:
    """A phrase's root; one of several words is noted among the phrases."""
    words = tuple(root(word) for word in phrase.replace("~", " ~ ").replace("-", " ").split())
    if len(words) > 1:
        phrases.add(words)
    return " ".join(words)
