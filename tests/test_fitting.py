"""Fitting keeps whole turns, chooses what matters, and never exceeds its budget."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.answering.fitting import Material, fit
from engine.errors import ContextTooLong
from engine.types import ChatTurn

SYSTEM = ChatTurn("system", "be kind")
SUMMARY = ChatTurn("system", "be kind they spoke of knives")


def words(turns):
    return sum(len(turn.content.split()) for turn in turns)


def ask(passages, message):
    return ChatTurn("user", " ".join([*passages, message]))


def conversation(count):
    roles = ("user", "assistant")
    return [ChatTurn(roles[i % 2], f"turn {i} has five words") for i in range(count)]


def material(**changes):
    given_ones = {
        "system": SYSTEM,
        "passages": ["first passage", "second passage"],
        "history": conversation(6),
        "message": "where is it",
        "ask": ask,
    }
    return Material(**{**given_ones, **changes})


def fitted(budget, **changes):
    return fit(material(**changes), count=words, budget=budget)


def test_everything_goes_in_when_it_fits():
    result = fitted(100, summary=SUMMARY)
    assert [turn.role for turn in result.turns] == ["system", *("user", "assistant") * 3, "user"]
    assert (result.passages, result.history) == ((0, 1), (0, 1, 2, 3, 4, 5))
    assert result.turns_left_out == 0
    assert not result.is_summary_used
    assert result.tokens == words(result.turns)


def test_the_newest_turns_stay_whole_and_the_history_is_not_touched():
    history = conversation(6)
    before = list(history)
    result = fitted(2 + 3 + 4 + 12, history=history)
    assert result.turns[1:-1] == tuple(before[-2:])
    assert result.turns_left_out == 4
    assert history == before


def test_the_best_passage_goes_before_turns_and_the_worst_is_dropped_first():
    result = fitted(2 + 3 + 2)
    assert result.turns[-1].content == "first passage where is it"
    assert (result.passages, result.history) == ((0,), ())


def test_an_old_exchange_that_matters_goes_before_a_newer_one_that_does_not():
    relevance = [0, 0.9, *[0.0] * 10]
    result = fitted(2 + 3 + 4 + 20, history=conversation(12), matters=lambda: relevance)
    assert result.history == (0, 1, 10, 11)


def test_the_neighbour_of_what_matters_comes_with_it():
    relevance = [0, 0, 0, 0.9, 0, 0, *[0.0] * 14]
    result = fitted(2 + 3 + 4 + 60, history=conversation(20), matters=lambda: relevance)
    assert {2, 3, 4, 5} <= set(result.history)
    assert 6 not in result.history


def test_what_matters_is_not_asked_when_everything_fits():
    def never():
        raise AssertionError("asked")

    assert fitted(100, matters=never).turns_left_out == 0


def test_a_summary_stands_for_the_turns_left_out():
    result = fitted(2 + 3 + 4 + 4 + 10, summary=SUMMARY)
    assert result.is_summary_used
    assert result.turns[0] == SUMMARY
    assert result.history == (4, 5)


def test_an_answer_never_stays_without_its_question():
    assert fitted(2 + 3 + 4 + 5).history == ()


def test_an_answer_to_nothing_is_left_out():
    result = fitted(100, history=conversation(6)[1:])
    assert result.history == (1, 2, 3, 4)
    assert result.turns_left_out == 1


def test_a_message_that_cannot_fit_says_how_long_it_may_be():
    with pytest.raises(ContextTooLong, match="may be at most 8 tokens") as caught:
        fitted(10, message="word " * 50)
    assert caught.value.limit == 8


@settings(max_examples=200, deadline=None)
@given(
    exchanges=st.integers(0, 7),
    budget=st.integers(5, 140),
    relevance=st.lists(st.floats(0, 1), min_size=14, max_size=14),
    has_summary=st.booleans(),
)
def test_the_budget_is_never_exceeded_and_turns_stay_in_order(exchanges, budget, relevance, has_summary):
    turns = 2 * exchanges
    history = conversation(turns)
    result = fitted(
        budget,
        history=history,
        matters=lambda: relevance[:turns],
        summary=SUMMARY if has_summary else None,
    )
    assert result.tokens == words(result.turns) <= budget
    assert len(result.history) + result.turns_left_out == turns
    assert list(result.turns[1:-1]) == [history[row] for row in result.history]
    assert list(result.history) == sorted(set(result.history))
    assert list(result.passages) == list(range(len(result.passages)))
    roles = [turn.role for turn in result.turns[1:]]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    if result.turns_left_out == 0:
        assert not result.is_summary_used
