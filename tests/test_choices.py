"""Asking back by number, and understanding what was chosen."""

import pytest

from engine.answering.choices import chosen, is_rivalled, is_short, listed, readings
from engine.language.phrases import LANGUAGES, say
from engine.library.documents import Passage
from engine.search.index import Hit
from engine.types import ChatTurn

OPTIONS = ("How do I return an item?", "How do I return a gift?", "Who pays for a return?")


def hit(score, *questions, heading="Returns › Costs", document="returns.md"):
    return Hit(Passage(document, heading, 0, 4, "text", questions=questions), score)


def pick(message, language="en"):
    turns = [ChatTurn("user", "return"), ChatTurn("assistant", listed(OPTIONS, language))]
    return chosen([*turns, ChatTurn("user", message)])


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("1", 1),
        (" 2. ", 2),
        ("#3", 3),
        ("number 2", 2),
        ("option 3 please", None),
        ("the second one", 2),
        ("The first, please!", 1),
        ("das zweite", 2),
        ("la troisième", 3),
        ("２", 2),
        ("第三", 3),
        ("How do I return a gift?", 2),
    ],
)
def test_a_number_a_word_or_the_option_itself_picks_it(message, number):
    expected = OPTIONS[number - 1] if number else None
    assert pick(message) == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_way_out_picks_none_in_every_language(language):
    assert pick(say("none_of_these", language), language) == ""
    assert pick("4", language) == ""


@pytest.mark.parametrize(
    "message",
    [
        "5",
        "0",
        "I bought 2",
        "2 weeks ago",
        "What does it cost?",
        "one",
        "",
        "the second hand shop is where?",
    ],
)
def test_anything_else_is_a_message_of_its_own(message):
    assert pick(message) is None


def test_an_option_is_known_whatever_signs_it_has():
    options = ("退货政策是什么？", "What is ½ m² of Linen™…?")
    for option in options:
        turns = [
            ChatTurn("user", "x"),
            ChatTurn("assistant", listed(options, "zh")),
            ChatTurn("user", option),
        ]
        assert chosen(turns) == option


def test_a_list_in_a_quoted_page_offers_nothing():
    quoted = ChatTurn("assistant", "You need:\n1. The label\n2. The box")
    assert chosen([ChatTurn("user", "How?"), quoted, ChatTurn("user", "2")]) is None


def test_a_first_message_chooses_nothing():
    assert chosen([ChatTurn("user", "2")]) is None


def test_readings_are_the_questions_of_near_passages_each_once():
    hits = [
        hit(0.4, "A?"),
        hit(0.39, "A?"),
        hit(0.38, "B?"),
        hit(0.37, heading="C"),
        hit(0.36, "D?"),
        hit(0.1, "E?"),
    ]
    assert readings(hits) == ("A?", "B?", "C")
    assert readings([hit(0.4, "A?"), hit(0.1, "B?"), hit(0.1, "C?")]) == ("A?", "B?")
    assert readings([hit(0.4, "A?"), hit(0.3, "A?")]) == ("A?",)


def test_a_few_words_are_short():
    assert is_short("discount")
    assert not is_short("How do I get a discount for students in Norway?")


def test_another_page_that_comes_close_is_a_rival():
    assert is_rivalled([hit(0.4, "A?"), hit(0.39, "B?", document="b.md")])
    assert not is_rivalled([hit(0.4, "A?"), hit(0.39, "B?")])
    assert not is_rivalled([hit(0.4, "A?"), hit(0.2, "B?", document="b.md")])
