"""What a confidence means: answer, ask back once, or hand over."""

import pytest

from engine.answering.deciding import Thresholds, decide
from engine.library.documents import Passage
from engine.search.index import Found, Hit

THRESHOLDS = Thresholds(hand_over_below=0.4)
TWO = ("A?", "B?")
LONG = "How long does a parcel to Norway take?"


def found(confidence, second=0.2, document="b.md"):
    best = Hit(Passage("a.md", "A", 0, 1, "a"), 0.5)
    return Found((best, Hit(Passage(document, "B", 0, 1, "b"), second)), confidence)


def decided(found, question=LONG, options=TWO, was_asked=False):
    return decide(question, found, options, THRESHOLDS, was_asked=was_asked)


@pytest.mark.parametrize(
    ("confidence", "decision"), [(0.9, "answer"), (0.4, "answer"), (0.39, "ask_back"), (0.15, "hand_over")]
)
def test_confidence_decides(confidence, decision):
    assert decided(found(confidence)) == decision


def test_a_threshold_fitted_high_asks_back_in_place_of_answering():
    strict = Thresholds(hand_over_below=0.8)
    assert decide(LONG, found(0.3), TWO, strict, was_asked=False) == "ask_back"
    assert decide(LONG, found(0.1), TWO, strict, was_asked=False) == "hand_over"


def test_what_another_page_fits_as_well_is_asked_back_unless_it_is_sure():
    assert decided(found(0.5, second=0.49)) == "ask_back"
    assert decided(found(0.5, second=0.49, document="a.md")) == "answer"
    assert decided(found(0.7, second=0.49)) == "answer"


def test_a_short_question_is_asked_back_even_then():
    assert decided(found(0.7, second=0.49), question="discount") == "ask_back"
    assert decided(found(0.7, second=0.1), question="discount") == "answer"


def test_nobody_is_asked_twice():
    assert decided(found(0.1, second=0.49), was_asked=True) == "answer"


def test_where_there_is_one_reading_nobody_is_asked():
    assert decided(found(0.39), options=("A?",)) == "hand_over"


def test_nothing_found_is_handed_over_even_when_it_was_chosen():
    assert decided(Found((), 0.0), options=(), was_asked=True) == "hand_over"
