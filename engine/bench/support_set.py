"""Sentences that pages say and sentences that they do not quite say, to measure the support check on.

Some are written by hand (`support_set.jsonl`), the rest is made from the pages by rule: honest rewrites of
their sentences, and the same sentences with one thing changed.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from engine.library.documents import Document, passages
from engine.library.lesson import SAMPLE_PAGES
from engine.support.cutter import sentence_spans
from engine.support.support import has_substance

_HAND_WRITTEN = Path(__file__).with_name("support_set.jsonl")
# Made sentences for each sentence of a page.
_SUPPORTED_EACH, _UNSUPPORTED_EACH = 2, 3
_SEED = 20261123


@dataclass(frozen=True)
class Case:
    """A sentence to be checked against a page's passages."""

    page: str
    text: str
    kind: str
    is_supported: bool
    is_made: bool = True


def sample_passages() -> dict[str, list[str]]:
    """The passages of each sample page, by file name."""
    return {
        path.name: [
            passage.text for passage in passages(Document(path.name, path.stem, path.read_text("utf-8")))
        ]
        for path in sorted(SAMPLE_PAGES.glob("*.md"))
    }


def half_of(page: str) -> int:

    return sorted(path.name for path in SAMPLE_PAGES.glob("*.md")).index(page) % 2


def written_cases() -> list[Case]:
    """The cases that were written by hand."""
    rows = map(json.loads, _HAND_WRITTEN.read_text(encoding="utf-8").splitlines())
    return [Case(row["page"], row["text"], row["kind"], row["is_supported"], is_made=False) for row in rows]


def made_cases(pages: Mapping[str, Sequence[str]]) -> Iterator[Case]:
    """Cases made by rule from the passages of each page, the same ones every time."""
    chance = random.Random(_SEED)
    every = [(page, sentence) for page, texts in pages.items() for sentence in _sentences(texts)]
    for page, texts in pages.items():
        for first, second in _pairs(texts):
            if chance.random() < 0.3:
                yield Case(page, f"{_open(first)}, and {_lowered(second)}", "merged", True)
        for sentence in _sentences(texts):
            honest = [
                (kind, text) for kind, make in _HONEST.items() for text in make(sentence) if text != sentence
            ]
            for kind, text in [("copy", sentence), *_some(honest, _SUPPORTED_EACH, chance)]:
                yield Case(page, text, kind, True)
            wrong = [
                (kind, text)
                for kind, make in _WRONG.items()
                for text in make(sentence, chance)
                if text != sentence
            ]
            for kind, text in _some(wrong, _UNSUPPORTED_EACH, chance):
                yield Case(page, text, kind, False)
            other, foreign = chance.choice(every)
            if other != page and chance.random() < 0.3:
                yield Case(page, foreign, "other page", False)
            if other != page and chance.random() < 0.2:
                yield Case(page, f"{_open(sentence)}, and {_lowered(foreign)}", "half true", False)


def _some(options: Sequence[tuple[str, str]], count: int, chance: random.Random) -> list[tuple[str, str]]:
    """A few of the options, each of another kind where there are enough kinds."""
    kinds = sorted({kind for kind, _ in options})
    chance.shuffle(kinds)
    return [chance.choice([option for option in options if option[0] == kind]) for kind in kinds[:count]]


def _sentences(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        for start, end in sentence_spans(text):
            sentence = text[start:end].lstrip("-*• ")
            if has_substance(sentence) and sentence[-1] == "." and "This page" not in sentence:
                yield sentence


def _pairs(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        for first, second in pairwise(text[start:end] for start, end in sentence_spans(text)):
            if first[-1] == second[-1] == "." and first[0] != "-" and second[0] != "-":
                yield first, second


def _open(sentence: str) -> str:
    return sentence.rstrip(".!? ")


def _lowered(sentence: str) -> str:
    is_name = re.match(r"(?:[A-Z]{2}|I\b|Maple|Klarna|Danish|Monday|Saturday|Express |PayPal|UN)", sentence)
    return sentence if is_name else sentence[0].lower() + sentence[1:]


def _raised(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _each(sentence: str, table: Mapping[str, str]) -> Iterator[str]:
    """The sentence with one entry of the table replaced, each that applies."""
    for old, new in table.items():
        changed = re.sub(rf"\b{old}\b", new, sentence, count=1)
        if changed != sentence:
            yield _raised(changed)


_WORDS = {
    "buy": "purchase", "bought": "purchased", "choose": "select", "receive": "get", "parcel": "package",
    "begin": "start", "starts": "begins", "immediately": "right away", "free of charge": "at no cost",
    "delete": "remove", "repair": "fix", "refund": "reimburse", "at any time": "whenever you like",
    "also": "as well", "enter": "type in", "carrier": "courier", "shop in Aarhus": "Aarhus store",
    "write to": "email",
    "tell us": "let us know", "answer": "reply", "within": "in no more than", "return": "send back",
    "valid": "good", "shown": "displayed", "collect": "pick up", "several": "multiple", "large": "big",
    "automatically": "by itself", "photo": "picture", "for example": "for instance", "need": "require",
}  # fmt: skip
_CONTRACTED = {
    "do not": "don't", "does not": "doesn't", "cannot": "can't", "is not": "isn't", "are not": "aren't",
    "has not": "hasn't", "You are": "You're", "we are": "we're", "You have": "You've got",
}  # fmt: skip
_CUSTOMERS = {
    "You can": "Customers may", "you can": "customers can", "You find": "Customers find",
    "You need": "Customers need",
    "You get": "Customers receive", "You have": "Customers have", "We": "Our team will",
    "can be": "may be", "You can ": "It is possible to ", "can": "is able to",
}  # fmt: skip
_SPELLED = {
    "2": "two", "3": "three", "5": "five", "8": "eight", "10": "ten", "14": "fourteen", "30": "thirty",
    "one": "1",
    "two": "2", "14:00": "2 pm", "18:00": "6 pm", "EUR": "euros", "15 November": "November 15",
    "31 January": "January 31st",
    "24 December": "December 24", "7 days": "one week", "30 minutes": "half an hour", "3 years": "36 months",
    "percent": "%", r"(\d+\.\d\d) EUR": r"€\1", r"(\d+) EUR": r"€\1",
}  # fmt: skip
_PASSIVE = {
    r"We (send|pay|store|keep|publish|check|confirm|refund|repair) (the|your) (.+?)"
    r"( within| after| as soon| for| in| on|, |\.)":
    {"send": "sent", "pay": "paid", "store": "stored", "keep": "kept", "publish": "published",
     "check": "checked", "confirm": "confirmed", "refund": "refunded", "repair": "repaired"},
}  # fmt: skip


def _passive(sentence: str) -> Iterator[str]:
    for pattern, participles in _PASSIVE.items():
        found = re.match(pattern, sentence)
        if found:
            verb = participles[found[1]]
            yield f"{found[2].title()} {found[3]} is {verb} by us{found[4]}{sentence[found.end() :]}"


def _clauses_turned(sentence: str) -> Iterator[str]:
    if found := re.fullmatch(r"(If|When|After|Once) ([^,;:]+), ([^;:]+)\.", sentence):
        yield _raised(f"{found[3]} {found[1].lower()} {found[2]}.")


def _shortened(sentence: str) -> Iterator[str]:
    """Without the reason, the example or the aside at its end."""
    if found := re.match(r"(.{25,}?)(?:, because |, for example |, so |, such as )", sentence):
        yield f"{found[1]}."
    if found := re.fullmatch(r"([^,;:]{25,}), and (?:we|you|it|the [^,]+) [^,;:]+\.", sentence):
        yield f"{found[1]}."


def _framed(sentence: str) -> Iterator[str]:
    for opening in ("Yes, ", "Please note that ", "Sure, ", "Of course, "):
        yield f"{opening}{_lowered(sentence)}"


_HONEST: dict[str, Callable[[str], Iterator[str]]] = {
    "synonym": lambda sentence: _each(sentence, _WORDS),
    "contraction": lambda sentence: _each(sentence, _CONTRACTED),
    "pronoun": lambda sentence: _each(sentence, _CUSTOMERS),
    "spelling": lambda sentence: _each(sentence, _SPELLED),
    "passive": _passive,
    "clause order": _clauses_turned,
    "shortened": _shortened,
    "framed": _framed,
}
_ENTITIES = {
    "Denmark": "Sweden", "Aarhus": "Odense", "Norway": "Iceland", "Switzerland": "Austria",
    "knives": "scissors",
    "pans": "plates", "lamps": "chairs", "pan": "knife", "lamp": "kettle", "PayPal": "Amazon Pay",
    "Klarna": "PayPal",
    "Visa": "Maestro", "UNiDAYS": "StudentBeans", "email": "letter", "phone": "chat", "gift card": "voucher",
    "newsletter": "catalogue", "password": "phone number", "receipt": "passport", "delivery": "purchase",
    "order number": "customer number", "card": "bank account", "express": "standard", "Standard": "Express",
    "Monday": "Tuesday", "Saturday": "Sunday", "Sunday": "Friday", "warehouse": "shop",
    "account": "profile page of the app",
    "carrier": "post office", "photo": "video", "bank": "employer", "invoice": "delivery note",
    "warranty": "insurance",
    "label": "receipt", "repair": "exchange", "discount": "gift", "points": "stars", "EU": "USA",
    "cotton": "silk",
}  # fmt: skip
_MODALS = {
    "can": "must", "may": "must", "must": "may", "Please": "You do not need to", "have to": "may",
    "need": "may need",
    "normally": "always", "usually": "always", "often": "always", "about": "exactly", "should": "may",
}  # fmt: skip
_QUANTIFIERS = {
    "all": "some", "All": "Some", "every": "almost every", "Every": "Almost every", "any": "certain",
    "Some": "All",
    "some": "all", "only": "always", "Only": "Even non-", "always": "sometimes", "never": "rarely",
    "each": "the first",
    "first": "last", "single": "several", "most": "all", "whole": "half of the", "several": "only two",
    "both": "one of the",
}  # fmt: skip
_RELATIONS = {
    "before": "after", "after": "before", "until": "from", "within": "after", "more than": "less than",
    "or": "and",
    "from": "to", "without": "with", "free": "cheap", "unused": "used", "closed": "open",
    "included": "excluded",
    "same": "different", "new": "old", "at least": "at most", "up to": "at least", "unopened": "opened",
    "days": "weeks",
    "hours": "minutes", "months": "weeks", "years": "months", "EUR": "USD", "business days": "days",
    "minutes": "hours",
}  # fmt: skip
_ACTORS = {
    "we send you": "you send us", "We send": "You send", "you send us": "we send you", "We": "The carrier",
    "your bank": "our bank", "you pay": "we pay", "we pay": "you pay", "You pay": "We pay",
    "customer service": "the carrier",
    "the carrier": "our shop", "we check": "you check", "We refund": "The manufacturer refunds",
    "you get": "we get",
    "You get": "We get", "You receive": "We receive", "we email you": "you email us", "We ask": "You ask",
}  # fmt: skip
_CONDITIONS = (
    " if you are a member", " as long as the order is above 40 EUR", " unless you live abroad",
    " for members only",
    " if you ask for it in advance", " except in December", " provided that you have an account",
    " on weekdays only",
    " when you pay by card", " with the manager's approval",
)  # fmt: skip
_INVENTIONS = (
    " and a small present", " and we give you a voucher for it", ", and a courier comes to your door",
    " by our partner in Germany",
    ", which takes a few minutes in the app", " and costs a small fee", ", and you get an SMS about it",
    " from our blue catalogue",
    ", and our experts check it twice", " at a reduced price",
)  # fmt: skip


def _numbers_changed(sentence: str, chance: random.Random) -> Iterator[str]:
    for number in re.finditer(r"(?<![\w.:@+-])\d+(?![\w@:]|-\d{3})", sentence):
        value = int(number[0])
        other = chance.choice([value + 1, value + 5, value * 2, max(1, value // 2) + (value < 2)])
        yield f"{sentence[: number.start()]}{other}{sentence[number.end() :]}"


def _negated(sentence: str, chance: random.Random) -> Iterator[str]:
    if verb := re.search(r"\b(?:is|are|can|must|will|may|does|do)(?= (?!not\b))", sentence):
        yield f"{sentence[: verb.end()]} not{sentence[verb.end() :]}"
    for old, new in {
        " not ": " ",
        "cannot": "can",
        "No, ": "Yes, ",
        "no ": "a ",
        "never": "always",
        "without": "with",
    }.items():
        if old in sentence:
            yield sentence.replace(old, new, 1)


def _unlimited(sentence: str, chance: random.Random) -> Iterator[str]:
    """Without its condition."""
    if found := re.fullmatch(r"(?:If|When|Until|Unless|Once|As long as) [^,;:]+, ([^;:]+)\.", sentence):
        yield _raised(f"{found[1]}.")
    if found := re.fullmatch(
        r"([^;:]{15,}?),? (?:if|unless|until|as long as|except|only when) [^;:]+\.", sentence
    ):
        yield f"{found[1]}."
    if re.search(r"\bonly\b", sentence):
        yield re.sub(r"\bonly ", "", sentence, count=1)


def _tailed(tails: Sequence[str]) -> Callable[[str, random.Random], Iterator[str]]:
    def make(sentence: str, chance: random.Random) -> Iterator[str]:
        yield f"{_open(sentence)}{chance.choice(tails)}."

    return make


def _replaced(table: Mapping[str, str]) -> Callable[[str, random.Random], Iterator[str]]:
    return lambda sentence, chance: _each(sentence, table)


_WRONG: dict[str, Callable[[str, random.Random], Iterator[str]]] = {
    "number": _numbers_changed,
    "negation": _negated,
    "dropped": _unlimited,
    "entity": _replaced(_ENTITIES),
    "modality": _replaced(_MODALS),
    "quantifier": _replaced(_QUANTIFIERS),
    "relation": _replaced(_RELATIONS),
    "actor": _replaced(_ACTORS),
    "added": _tailed(_CONDITIONS),
    "invented": _tailed(_INVENTIONS),
}
