"""Asking back: two or three readings of a question by number, and understanding what was chosen.

Nothing is remembered between the two: the list stands in the conversation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from engine.language.phrases import LANGUAGES, say
from engine.search.index import Hit
from engine.search.terms import content_terms
from engine.types import ChatTurn

_LEAST_OPTIONS, _MOST_OPTIONS = 2, 3
# The third reading is offered when its score comes this close to the best one's.
_NEAR = 0.8
# Words that count in a short question, and how close another page must come to the best one.
_FEW_TERMS, _AS_NEAR = 2, 0.85

_LISTED = re.compile(r"^(\d)\. (.+)$", re.MULTILINE)
_NUMBER = re.compile(r"\W{0,3}(?:[^\W\d]{1,10}\W{1,3})?#?(\d)\W{0,3}")
_ORDINALS = {
    word: number
    for number, words in {
        1: "first erste ersten erstes premier première primero primera primer 一 第一 最初 ひとつめ",
        2: "second two zweite zweiten zweites deuxième second segundo segunda 二 第二",
        3: "third three dritte dritten drittes troisième tercero tercera tercer 三 第三",
    }.items()
    for word in words.split()
}
# "the second one, please" and the like; a longer message is a question of its own.
_MOST_WORDS = 4


def readings(hits: Sequence[Hit]) -> tuple[str, ...]:
    """What may have been meant, likeliest first: the questions of the best passages, each once."""
    scores: dict[str, float] = {}
    for hit in hits:
        scores.setdefault(_question(hit), hit.score)
    best = list(scores.items())[:_MOST_OPTIONS]
    near = [name for row, (name, score) in enumerate(best) if row < _LEAST_OPTIONS or _is_near(score, hits)]
    return tuple(near)


def _is_near(score: float, hits: Sequence[Hit]) -> bool:
    return score >= _NEAR * hits[0].score


def is_short(question: str) -> bool:
    """Whether so few words may mean several things."""
    return len(set(content_terms(question))) <= _FEW_TERMS


def is_rivalled(hits: Sequence[Hit]) -> bool:
    """Whether another page fits about as well as the best one."""
    best = hits[0]
    return any(
        hit.score >= _AS_NEAR * best.score for hit in hits if hit.passage.document != best.passage.document
    )


def _question(hit: Hit) -> str:
    passage = hit.passage
    return " ".join((passage.questions[0] if passage.questions else passage.heading).split())


def listed(options: Sequence[str], language: str) -> str:
    """The question back, its options numbered, and a way out as the last."""
    lines = [*options, say("none_of_these", language)]
    numbered = "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
    return f"{say('ask_back', language)}\n{numbered}"


def chosen(turns: Sequence[ChatTurn]) -> str | None:
    """The option that the last turn picks from the list in the turn before it.

    Empty when it picks none of them; None when there is no list, or it says something else.
    """
    if len(turns) < 2 or turns[-2].role != "assistant":
        return None
    options = _options(turns[-2].content)
    if not options:
        return None
    message = _plain(turns[-1].content)
    picks = [*options[:-1], ""]  # the last one is the way out
    for option, pick in zip(options, picks, strict=True):
        if message == _plain(option):
            return pick
    number = _picked(message)
    return None if number is None or number > len(options) else picks[number - 1]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _options(answer: str) -> list[str]:
    """The list in an answer of ours, else nothing: a quoted page may hold a list too."""
    if not any(answer.startswith(say("ask_back", language)) for language in LANGUAGES):
        return []
    return [match[2].strip() for match in _LISTED.finditer(answer)]


def _picked(message: str) -> int | None:
    """The number that a short message names, from 1."""
    if (number := _NUMBER.fullmatch(message)) and number[1] != "0":
        return int(number[1])
    words = re.findall(r"[^\W\d_]+", message)
    if len(words) > _MOST_WORDS:
        return None
    found = [_ORDINALS[word] for word in words if word in _ORDINALS]
    return found[0] if found else None
