"""Fitting keeps whole turns, newest first, and never exceeds its budget."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ContextTooLong
from engine.fitting import fit
from engine.types import ChatTurn


def words(turns):
    return sum(len(turn.content.split()) for turn in turns)


def ask(passages, message):
    return ChatTurn("user", " ".join([*passages, message]))


def conversation(count):
    roles = ("user", "assistant")
    return [ChatTurn(roles[i % 2], f"turn {i} has five words") for i in range(count)]


def fitted(**changes):
    defaults = {
        "system": ChatTurn("system", "be kind"),
        "passages": ["first passage", "second passage"],
        "history": conversation(6),
        "message": "where is it",
        "ask": ask,
        "count": words,
    }
    return fit(**{**defaults, **changes})


def test_everything_goes_in_when_it_fits():
    result = fitted(budget=100)
    assert [turn.role for turn in result.turns] == ["system", *("user", "assistant") * 3, "user"]
    assert (result.passages_used, result.turns_used, result.turns_left_out) == (2, 6, 0)
    assert result.tokens == words(result.turns)


def test_the_newest_turns_stay_whole_and_the_history_is_not_touched():
    history = conversation(6)
    before = list(history)
    result = fitted(history=history, budget=2 + 3 + 4 + 12)
    assert result.turns[1:-1] == tuple(before[-2:])
    assert result.turns_left_out == 4
    assert history == before


def test_passages_go_before_old_turns_and_the_worst_is_dropped_first():
    result = fitted(budget=2 + 3 + 2)
    assert result.turns[-1].content == "first passage where is it"
    assert (result.passages_used, result.turns_used) == (1, 0)


def test_an_answer_never_stays_without_its_question():
    result = fitted(budget=2 + 3 + 4 + 5)
    assert result.turns_used == 0


def test_a_message_that_cannot_fit_says_how_long_it_may_be():
    with pytest.raises(ContextTooLong, match="may be at most 8 tokens") as caught:
        fitted(message="word " * 50, budget=10)
    assert caught.value.limit == 8


@settings(max_examples=200, deadline=None)
@given(turns=st.integers(0, 12), budget=st.integers(5, 120))
def test_the_budget_is_never_exceeded(turns, budget):
    history = conversation(turns)
    result = fitted(history=history, budget=budget)
    assert result.tokens == words(result.turns) <= budget
    assert result.turns_used + result.turns_left_out == turns
    if result.turns_used:
        assert list(result.turns[1:-1]) == history[-result.turns_used :]
