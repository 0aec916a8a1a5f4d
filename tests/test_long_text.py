"""A customer's text: sentences, lines, citations, and how much of it was read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.reading.long_text import LongText, Stretch, share_of

LETTERS = st.text(alphabet="aB1 .\n\r，。é😀", max_size=200)


@given(LETTERS)
def test_lines_are_counted_as_editors_count_them(text):
    source = LongText("a.txt", text)
    for offset in range(len(text)):
        assert source.line(offset) == text[:offset].count("\n") + 1


@given(LETTERS, st.data())
def test_a_citation_is_exact_and_names_the_lines_it_spans(text, data):
    source = LongText("a.txt", text + "x")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start + 1, len(text) + 1))
    citation = Stretch(source, start, end).citation()
    assert citation.quote == source.text[citation.start : citation.end]
    lines = source.text.split("\n")[citation.first_line - 1 : citation.last_line]
    assert citation.quote.strip("\n") in "\n".join(lines)
    assert citation.document == "a.txt"


@given(LETTERS)
def test_sentences_cover_every_word_and_do_not_overlap(text):
    found = LongText("a.txt", text).sentences(0, len(text))
    assert all(before.end <= after.start for before, after in pairwise(found))
    assert "".join("".join(one.text.split()) for one in found) == "".join(text.split())


def test_each_line_of_a_log_is_a_sentence():
    text = "2026-11-14 03:12:44 INFO a request without a full stop\n2026-11-14 03:12:45 ERROR another one"
    found = LongText("app.log", text).sentences(0, len(text))
    assert [one.text for one in found] == text.split("\n")


def test_a_sentence_that_was_wrapped_is_one_and_a_paragraph_ends_it():
    wrapped = "The tenant pays the rent in advance, on the first\nworking day of a month."
    text = f"{wrapped}\n\nother matters\nfollow here"
    found = LongText("lease.txt", text).sentences(0, len(text))
    assert found[0].text == wrapped
    assert [one.text for one in found[1:]] == ["other matters", "follow here"]


def test_a_window_in_the_middle_gives_its_sentences_whole():
    text = "The first is short. The second is a little longer. The third ends it."
    found = LongText("a.txt", text).sentences(25, 30)
    assert [one.text for one in found] == ["The second is a little longer."]


def test_a_line_without_end_is_cut_where_it_can_be_quoted():
    text = "word " * 1000
    found = LongText("data.min.js", text).sentences(0, len(text))
    assert len(found) > 5
    assert all(len(one.text) <= 600 for one in found)


@pytest.mark.parametrize(
    ("spans", "share"),
    [([], 0.0), ([(0, 5), (0, 5)], 0.5), ([(0, 6), (4, 10)], 1.0), ([(8, 10), (0, 1)], 0.3)],
)
def test_what_was_read_twice_counts_once(spans, share):
    source = LongText("a.txt", "0123456789")
    assert share_of([Stretch(source, *span) for span in spans], [source]) == pytest.approx(share)


def test_the_share_is_that_of_all_texts_together():
    first, second = LongText("a", "x" * 30), LongText("b", "y" * 10)
    assert share_of([Stretch(first, 0, 10), Stretch(second, 0, 10)], [first, second]) == 0.5
