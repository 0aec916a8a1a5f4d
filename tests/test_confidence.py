"""Confidence is a probability that grows with how well the best hit fits and how far it leads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.search.confidence import BY_MEANING, BY_WORDS, confidence

FITS = st.floats(0, 1)
RIVALS = st.lists(FITS, max_size=8).map(lambda fits: sorted(fits, reverse=True))
CURVES = st.sampled_from([BY_MEANING, BY_WORDS])


@given(FITS, RIVALS, CURVES)
def test_it_is_a_probability(best, rivals, curve):
    assert 0 < confidence(best, rivals, curve) < 1


@given(FITS, FITS, RIVALS, CURVES)
def test_a_better_fit_is_never_less_sure(one, other, rivals, curve):
    low, high = sorted((one, other))
    assert confidence(low, rivals, curve) <= confidence(high, rivals, curve)


@given(FITS, RIVALS, st.floats(0, 0.5), CURVES)
def test_closer_rivals_never_make_it_surer(best, rivals, nearer, curve):
    closer = [fit + nearer for fit in rivals]
    assert confidence(best, closer, curve) <= confidence(best, rivals, curve)


def test_rivals_that_are_missing_count_as_far_off():
    assert confidence(0.8, []) == confidence(0.8, [0.2] * 4)
    assert confidence(0.8, [0.7]) < confidence(0.8, [])


def test_only_the_nearest_rivals_count():
    assert confidence(0.8, [0.5] * 4) == pytest.approx(confidence(0.8, [0.5] * 4 + [0.1] * 50))
