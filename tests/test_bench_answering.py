"""The answering benchmark on a handful of rows of our own: what is counted, what is skipped."""

import json
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from engine.bench import answering, answering_table, answering_texts, answering_threshold
from engine.bench.answering_cache import CachedEmbedder
from engine.bench.answering_rows import AUROC, HIT, OURS, PRECISION, area, share
from engine.bench.answering_search import exactness, search
from engine.bench.answering_sets import FILES, Asked, Rows, Task
from engine.library.documents import Document
from engine.types import ChatTurn

DATA = Path(__file__).parents[2] / "shared" / "data" / "support"
ENTRIES = {
    "return": ("How do I send something back?", "Use the label in the parcel."),
    "invoice": ("Where is my invoice?", "In your account, below each order."),
    "gift": ("Can I buy a gift card?", "Yes, from 10 euros."),
    "hours": ("When are you open?", "From nine to five."),
}
QUESTIONS = {"return": "I want to give an item back", "invoice": "find my invoices", "gift": "buy gift cards"}


@pytest.fixture
def task():
    documents = [Document(name, q, a, question=q) for name, (q, a) in ENTRIES.items()]
    asked = [Asked(name, text, frozenset({name})) for name, text in QUESTIONS.items()]
    return Task("shop", documents, [*asked, Asked("moon", "How far is the moon?", frozenset())])


def values(rows):
    return {(row.contestant, row.metric): row.value for row in rows}


def test_every_search_is_asked_the_same_and_every_citation_is_exact(task, embedder):
    answers = search(task, embedder)
    hits = values(answers.hits(0.9))
    assert set(hits) == {(who, HIT) for who in (OURS, "MiniLM", "MiniLM + answer", "BM25")}
    assert hits[OURS, HIT] == 1
    assert values(answers.abstaining("shop", 0.9))[OURS, AUROC] == 1
    exact = exactness([answers])
    assert (exact.value, dict(exact.extras)["count"]) == (1, len(task.asked))


def test_an_entry_that_is_withheld_is_found_by_nobody(task, embedder):
    withheld = Task("shop", task.documents, task.asked, frozenset({"gift"}))
    answers = search(withheld, embedder)
    assert not withheld.is_known(task.asked[2])
    assert all(document != "gift" for found in answers.of.values() for document, _ in found)
    assert all(len(answers.right(who)) == 2 for who in answers.of)


def test_only_ours_has_a_target(task, embedder):
    rows = list(search(task, embedder).hits(0.9))
    assert [dict(row.extras).get("target") for row in rows] == [0.9, None, None, None]


def test_thresholds_are_measured_with_precision_and_share(task, embedder):
    rows = list(answering_threshold.rows(search(task, embedder), embedder, 0.9, 0.8))
    assert {row.model for row in rows} >= {"fitted threshold", "default threshold"}
    default = {row.metric: row.value for row in rows if row.model == "default threshold"}
    assert default[PRECISION] == 1


def test_a_share_has_wilsons_interval_and_an_area_hanley_and_mcneils():
    half = dict(share("t", OURS, HIT, [True, False] * 50).extras)
    assert (half["count"], half["low"], half["high"]) == (100, 0.4038, 0.5962)
    # From the article's formula, by hand: A = 3/4, two and two cases
    row = area("t", OURS, [1.0, 3.0], [0.0, 2.0])
    extras = dict(row.extras)
    assert row.value == 0.75
    assert (extras["low"], extras["high"]) == (0.2085, 1.0)


def test_windows_cover_the_whole_text_and_no_word_is_cut():
    text = " ".join(f"word{number}" for number in range(800))
    spans = answering_texts.cut(text)
    assert (spans[0][0], spans[-1][1]) == (0, len(text))
    assert all(following[0] < span[1] for span, following in pairwise(spans))
    words = set(text.split())
    assert all(word in words for start, end in spans for word in text[start:end].split())


def test_rows_are_read_as_documents_and_conversations(tmp_path):
    (tmp_path / "dstc11t5_kb.jsonl").write_text(
        json.dumps({"id": "1", "entity": "Ashley", "question": "Pets?", "answer": "No."})
    )
    row = {"id": "a", "last_turn": "Dogs?", "needs_kb": True, "gold": ["1"]}
    turns = {"history": ["agent: the Ashley: shall I book?", "user: A hotel, please."]}
    (tmp_path / "dstc11t5_queries.jsonl").write_text(json.dumps(row | turns))
    (asked,) = Rows(tmp_path).entities().asked
    assert asked.earlier == (
        ChatTurn("user", "A hotel, please."),
        ChatTurn("assistant", "the Ashley: shall I book?"),
    )


def test_vectors_are_kept_between_two_runs(tmp_path, embedder):
    first = CachedEmbedder(embedder, tmp_path)
    vectors = first.embed(["one", "two"])
    first.save()

    class Broken:
        name = embedder.name

        def embed(self, texts, batch_size=32):
            raise AssertionError(texts)

    assert (CachedEmbedder(Broken(), tmp_path).embed(["two", "one"]) == vectors[::-1]).all()


class TestWithoutData:
    def test_a_missing_folder_is_one_row_with_the_reason(self, tmp_path, embedder):
        (row,) = answering.measure(tmp_path / "nowhere", embedder, print)
        assert row.value is None
        assert f"{tmp_path / 'nowhere'} lacks " in row.reason
        assert all(f"{name}.jsonl" in row.reason for name in FILES)

    def test_the_table_says_so(self, tmp_path):
        rows = answering.measure(tmp_path, None, print)
        console = Console(file=StringIO(), width=200)
        about = {"cpu": "x", "cores": 2, "python": "3.11", "load": 0.0, "date": "today"}
        console.print(answering_table.render(about, rows))
        assert "not measured" in console.file.getvalue()


@pytest.mark.skipif(not DATA.is_dir(), reason="the labelled questions are not beside the repository")
def test_public_questions_are_answered_better_than_by_plain_vectors(embedder):
    task = Rows(DATA).faq("covidfaq")
    hits = values(search(Task(task.name, task.documents, task.asked[:120]), embedder).hits(None))
    assert hits[OURS, HIT] > hits["MiniLM", HIT]
