"""The windows that matter come first, and no more of them are read than a budget allows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.search.ranking import rank_windows
from engine.search.selecting import choose

WINDOWS = [
    "The warehouse was built in 1961 and painted twice since.",
    "Parcels that are refused go back to the sender after nine days.",
    "Our choir meets on Tuesdays in the canteen.",
]


def test_the_window_with_the_answer_is_ranked_first(embedder):
    question = "What happens to a parcel that nobody accepts?"
    for reader in (None, embedder):
        scores = rank_windows(question, WINDOWS, reader)
        assert scores.argmax() == 1
        assert ((scores >= 0) & (scores <= 1)).all()


def test_meaning_finds_what_has_none_of_the_words(embedder):
    assert rank_windows("When do the singers come together?", WINDOWS, embedder).argmax() == 2


def test_no_windows_have_no_scores(embedder):
    assert len(rank_windows("anything", [], embedder)) == 0


def test_what_two_windows_share_is_counted_once():
    windows = [(0, 100), (50, 150), (100, 200), (300, 400)]
    assert choose(windows, np.array([0.9, 0.8, 0.7, 0.1]), 200) == [(0, 200)]
    assert choose(windows, np.array([0.9, 0.8, 0.1, 0.7]), 250) == [(0, 150), (300, 400)]


def test_a_window_that_does_not_fit_ends_the_choice():
    windows = [(0, 100), (200, 400), (500, 510)]
    assert choose(windows, np.array([0.9, 0.8, 0.7]), 150) == [(0, 100)]
    assert choose(windows, np.array([0.1, 0.9, 0.2]), 50) == []


SPANS = st.tuples(st.integers(0, 500), st.integers(1, 80)).map(lambda it: (it[0], it[0] + it[1]))


@given(st.lists(st.tuples(SPANS, st.floats(0, 1)), max_size=20), st.integers(0, 400))
def test_the_choice_keeps_to_the_budget_and_to_the_windows(scored, budget):
    windows = [span for span, _ in scored]
    chosen = choose(windows, np.array([score for _, score in scored]), budget)
    covered = {place for start, end in chosen for place in range(start, end)}
    assert len(covered) == sum(end - start for start, end in chosen) <= budget
    assert covered <= {place for start, end in windows for place in range(start, end)}
    assert chosen == sorted(chosen)
