"""BM25 by slices of an inverted index gives what the formula gives, in any script, on any input."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.search.bm25 import BM25
from engine.search.terms import content_terms

WORDS = (
    "parcel",
    "parcels",
    "refund",
    "customs",
    "the",
    "Größe",
    "配送",
    "退款政策",
    "배송은",
    "l'adresse",
    "?!",
    "",
)
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=12)
queries = st.lists(st.sampled_from((*WORDS, "unheard")), max_size=6).map(" ".join)

PAGES = (
    "Parcels within Germany take two working days.",
    "A refund takes ten days once the parcel is back with us.",
    "Customs are paid by the customer.",
    "退款将在十个工作日内退回原支付方式。",
    "ドイツ国内の配送は二営業日かかります。",
    "สินค้าชำรุดสามารถคืนได้ภายในสามสิบวัน",
    "배송은 이틀이 걸립니다.",
)


def reference(pages, query, k1=1.2, b=0.75):
    """Scores and coverage by the formula, a text at a time."""
    counts = [Counter(content_terms(page)) for page in pages]
    mean = (sum(count.total() for count in counts) / len(counts) if counts else 1) or 1
    wanted = set(content_terms(query))
    idf = {}
    for term in wanted:
        having = sum(term in count for count in counts)
        idf[term] = math.log(1 + (len(pages) - having + 0.5) / (having + 0.5))
    scores, coverage = [], []
    for count in counts:
        norm = k1 * (1 - b + b * count.total() / mean)
        parts = (idf[term] * count[term] * (k1 + 1) / (count[term] + norm) for term in wanted & set(count))
        scores.append(sum(parts))
        coverage.append(sum(idf[term] for term in wanted & set(count)) / (sum(idf.values()) or 1))
    return scores, coverage


@given(texts, queries)
def test_scores_and_coverage_are_those_of_the_formula(pages, query):
    scores, coverage = BM25(pages).search(query)
    expected_scores, expected_coverage = reference(pages, query)
    assert scores == pytest.approx(expected_scores, rel=1e-5)
    assert coverage == pytest.approx(expected_coverage)
    assert all(0 <= share <= 1 for share in coverage)


@given(texts, queries, st.integers(1, 15))
def test_the_top_texts_are_the_best_of_all(pages, query, count):
    index = BM25(pages)
    scores = index.search(query)[0]
    rows, best = index.top(query, count)
    expected = [row for row in np.argsort(-scores, kind="stable") if scores[row] > 0][:count]
    assert list(rows) == expected
    assert list(best) == [scores[row] for row in expected]


@given(texts, queries)
def test_building_twice_gives_the_same_to_the_last_bit(pages, query):
    first, second = BM25(pages).search(query), BM25(pages).search(query)
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("How long do parcels take within Germany?", 0),
        ("refunds", 1),
        ("退款", 3),
        ("配送にどのくらい", 4),
        ("สินค้าชำรุด", 5),
        ("배송 얼마나 걸리나요", 6),
    ],
)
def test_a_question_finds_its_page_in_any_script(query, row):
    assert BM25(PAGES).top(query, 1)[0].tolist() == [row]


def test_a_rare_word_counts_more_than_a_common_one():
    index = BM25(["parcel refund", "parcel customs", "parcel"])
    assert index.idf("unheard") > index.idf("refund") > index.idf("parcel") > 0


def test_a_text_that_covers_the_whole_query_is_covered_by_one():
    assert BM25(PAGES).search("customs customer")[1].tolist() == [0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("query", ["", "the and of", "?!", "unheard"])
def test_a_query_that_finds_nothing_scores_nothing(query):
    scores, coverage = BM25(PAGES).search(query)
    assert not scores.any()
    assert not coverage.any()
    assert BM25(PAGES).top(query, 3)[0].tolist() == []


@pytest.mark.parametrize("pages", [[], [""], ["", "the", "?!"]])
def test_texts_without_words_are_searched_without_harm(pages):
    scores, coverage = BM25(pages).search("parcel")
    assert scores.tolist() == coverage.tolist() == [0] * len(pages)
    assert BM25(pages).top("parcel", 3)[0].tolist() == []
