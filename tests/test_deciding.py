"""What a confidence means: answer, ask back once, or hand over."""

import pytest

from engine.answering.deciding import Thresholds, decide
from engine.library.documents import Passage
from engine.search.index import Found, Hit

THRESHOLDS = Thresholds(hand_over_below=0.4)
TWO = ("A?", "B?")


def found(confidence):
    return Found((Hit(Passage("a.md", "A", 0, 1, "a"), 0.5),), confidence)


@pytest.mark.parametrize(
    ("confidence", "options", "is_vague", "was_asked", "decision"),
    [
        (0.4, TWO, False, False, "answer"),
        (0.4, TWO, True, False, "ask_back"),
        (0.39, TWO, False, False, "ask_back"),
        (0.39, ("A?",), False, False, "hand_over"),
        (0.1, TWO, True, True, "answer"),
        (0.12, TWO, False, False, "hand_over"),
    ],
)
def test_confidence_decides(confidence, options, is_vague, was_asked, decision):
    made = decide(found(confidence), options, THRESHOLDS, is_vague=is_vague, was_asked=was_asked)
    assert made == decision


def test_nothing_found_is_handed_over_even_when_it_was_chosen():
    assert decide(Found((), 0.0), (), THRESHOLDS, is_vague=False, was_asked=True) == "hand_over"
