"""The measured set of the support check, and what is measured on it."""

from collections import Counter

from engine.bench.support_part import measure
from engine.bench.support_set import made_cases, sample_passages, written_cases


def test_enough_cases_are_written_by_hand_for_every_page():
    cases = written_cases()
    assert {case.page for case in cases} == set(sample_passages())
    assert Counter(case.is_supported for case in cases)[True] >= 150
    assert Counter(case.is_supported for case in cases)[False] >= 100
    assert len({case.text for case in cases}) == len(cases)


def test_the_made_cases_are_the_same_every_time_and_of_every_kind():
    pages = sample_passages()
    cases = list(made_cases(pages))
    assert cases == list(made_cases(pages))
    wrong = {case.kind for case in cases if not case.is_supported}
    assert {
        "number",
        "entity",
        "added",
        "dropped",
        "negation",
        "modality",
        "other page",
        "half true",
    } <= wrong


def test_unsupported_sentences_are_found_at_few_false_alarms_on_pages_not_fitted_on(embedder):
    rows = {(row.contestant, row.metric): row.value for row in measure(embedder, every=24)}
    assert rows["held out", "recall"] >= 0.75  # a part of the cases: all of them are above 0.8
    assert rows["held out", "false alarms"] <= 0.11


def test_without_an_embedder_only_copies_are_supported():
    rows = {(row.contestant, row.metric): row.value for row in measure(None, every=24)}
    assert rows["shipped", "recall"] >= 0.95
    assert rows["shipped", "false alarms, made copy"] == 0
