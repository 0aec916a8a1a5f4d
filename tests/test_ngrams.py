"""Character n-grams find texts despite typos and endings, in any script."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.search import ngrams
from engine.search.ngrams import CharNGrams

QUESTIONS = (
    "How do I return damaged shoes?",
    "Where is my invoice?",
    "Can I change the delivery address?",
    "退款政策是什么",
    "配送時間はどれくらいですか",
    "배송은 얼마나 걸리나요",
    "สินค้าชำรุดคืนได้ไหม",
    "Wie lange dauert die Rückgabe?",
)
texts = st.lists(st.text("ab_ é'款送배x 9", max_size=20), max_size=8)
queries = st.text("ab é款送배xz", max_size=20)


def bag(text):
    """Every n-gram of a text, cut out word by word."""
    found = Counter()
    for word in ngrams._plain(text).split():
        if ngrams._DENSE_RUN.fullmatch(word):
            sizes, bordered = (1, 2), word
        else:
            sizes, bordered = (3, 4, 5), f" {word} "
        for size in sizes:
            found.update(bordered[place : place + size] for place in range(len(bordered) - size + 1))
    return found


def reference(pages, query):
    """Cosines of TF-IDF vectors, a text at a time."""
    bags = [bag(page) for page in pages]

    def weigh(counts):
        having = {gram: sum(gram in other for other in bags) for gram in counts}
        return {
            gram: count * (math.log((1 + len(pages)) / (1 + having[gram])) + 1)
            for gram, count in counts.items()
        }

    wanted = weigh(bag(query))
    likeness = []
    for weights in map(weigh, bags):
        dot = sum(weight * weights.get(gram, 0) for gram, weight in wanted.items())
        likeness.append(dot / ((math.hypot(*weights.values()) * math.hypot(*wanted.values())) or 1))
    return likeness


@given(texts, queries)
def test_likeness_is_the_cosine_of_the_weighted_bags(pages, query):
    found = CharNGrams(pages).search(query)
    assert found == pytest.approx(reference(pages, query), rel=1e-4, abs=1e-6)
    assert found.dtype == np.float32
    assert all(0 <= likeness <= 1 for likeness in found)


@given(texts, queries)
def test_blocks_make_no_difference(pages, query):
    whole = CharNGrams(pages).search(query)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "_BLOCK_CHARACTERS", 8)
        assert np.array_equal(CharNGrams(pages).search(query), whole)


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("retrun dammaged shooes", 0),
        ("invoces", 1),
        ("changing adresses of deliveries", 2),
        ("退款", 3),
        ("款", 3),
        ("配送は何日", 4),
        ("배송 언제", 5),
        ("ชำรุด", 6),
        ("Ruckgaberecht", 7),
    ],
)
def test_typos_endings_and_any_script_find_the_text(query, row):
    assert CharNGrams(QUESTIONS).search(query).argmax() == row


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_text_is_wholly_like_itself(question):
    assert CharNGrams(QUESTIONS).search(question).max() == pytest.approx(1)


def test_what_no_text_has_lowers_the_likeness():
    index = CharNGrams(QUESTIONS)
    assert index.search("invoice")[1] > index.search("invoice zyxwvut")[1] > 0


@pytest.mark.parametrize("pages", [[], [""], ["", "?!"]])
@pytest.mark.parametrize("query", ["", "parcel", "\ud800", "🎉"])
def test_texts_without_words_are_like_nothing(pages, query):
    assert CharNGrams(pages).search(query).tolist() == [0] * len(pages)


@pytest.mark.parametrize("query", ["", "?!", "zyx"])
def test_a_query_without_known_letters_is_like_nothing(query):
    assert not CharNGrams(QUESTIONS).search(query).any()


def test_a_word_said_a_thousand_times_stays_in_its_text():
    found = CharNGrams(["ab " * 1_000, "cd"]).search("ab")
    assert found.tolist() == pytest.approx([1, 0])


def test_more_texts_than_a_posting_can_number_are_refused(monkeypatch):
    monkeypatch.setattr(ngrams, "_MOST_ROWS", 2)
    with pytest.raises(ValueError, match="at most 2 texts, not 3"):
        CharNGrams(["a", "b", "c"])
