"""The search benchmark: the same texts for all, figures for each, and a reason for who cannot take part."""

import importlib.util
import json
import sys
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bots.bench_cli import bench
from engine.bench import knowledge_part, knowledge_table, machine
from engine.bench.knowledge_texts import Texts, collect
from engine.bench.searchers import TOP, searchers
from engine.errors import BadRequest

HAS_BM25S = importlib.util.find_spec("bm25s") is not None
needs_bm25s = pytest.mark.skipif(
    not HAS_BM25S, reason="bm25s is not installed: pip install 'frontdesk[bench]'"
)


@pytest.fixture(scope="module")
def texts():
    """A few passages of the sample pages, ten times as many for the growth."""
    return collect(None, 400)


@pytest.fixture(scope="module")
def rows(texts):
    few = Texts(texts.passages, texts.queries[:20])
    return knowledge_part.measure(few, repeats=2, say=lambda _: None)


def folder_with(tmp_path, *rows):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_the_sample_pages_give_as_many_different_passages_as_asked(texts):
    assert len(texts.passages) == 400
    assert len(set(texts.passages)) > 390
    assert len(texts.queries) == 1_000
    assert all(texts.queries)


def test_texts_are_the_same_every_time(texts):
    assert collect(None, 400) == texts


def test_a_folder_brings_its_own_documents_and_queries(tmp_path):
    folder = folder_with(
        tmp_path,
        {"id": "a", "text": "# Refunds\n\nTen days."},
        {"id": "b", "title": "Shipping", "text": "Two days."},
        {"id": "c", "question": "no document", "answer": "and no query"},
        {"id": "q", "query": "how long?"},
        {"id": "r", "last_turn": "and back?", "history": []},
    )
    found = collect(folder, 2)
    assert sorted(found.passages) == ["Shipping\nTwo days.", "a › Refunds\nTen days."]
    assert sorted(found.queries) == ["and back?", "how long?"]


def test_a_folder_without_documents_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="has no JSONL file with documents"):
        collect(folder_with(tmp_path, {"id": "q", "query": "how long?"}), 10)


def test_every_searcher_returns_the_best_ten(texts):
    for name, build in searchers()[0].items():
        found = build(texts.passages[:40])(texts.queries[0])
        best = found if name == "ours-ngrams" else found[0]
        assert len(best.ravel()) <= TOP, name


def test_each_has_speed_memory_and_growth(rows):
    measured = {row.contestant for row in rows if row.contestant and row.value is not None}
    assert {"ours-bm25", "ours-ngrams"} <= measured
    values = {(row.contestant, row.metric): row.value for row in rows}
    for name in measured:
        for metric in ("build", "queries", "memory", "memory_peak", "build_time_growth", "query_time_growth"):
            assert values[name, metric] > 0, (name, metric)
    assert values["", "passages"] == 40


def test_a_figure_of_repeats_is_their_median(rows):
    for row in rows:
        if row.metric in {"build", "queries"}:
            assert len(row.values) == 2
            assert min(row.values) <= row.value <= max(row.values)


@needs_bm25s
def test_ours_is_compared_with_bm25s(rows):
    values = {row.name: row.value for row in rows}
    expected = values["ours-bm25/build"] / values["bm25s/build"]
    assert values["ours-bm25/build_time_over_bm25s"] == pytest.approx(expected)
    assert values["ours-bm25/query_time_over_bm25s"] > 0
    assert next(row for row in rows if row.contestant == "bm25s").to_json()["version"]


def test_names_of_rows_are_unique(rows):
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)


def test_without_bm25s_the_reason_is_a_row(monkeypatch, texts):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    few = Texts(texts.passages[:100], texts.queries[:5])
    rows = knowledge_part.measure(few, repeats=1, say=lambda _: None)
    unable = next(row for row in rows if row.contestant == "bm25s")
    assert (unable.value, unable.reason) == (None, "not installed: pip install 'frontdesk[bench]'")
    assert "not measured: bm25s: not installed" in printed(rows)


def printed(rows):
    console = Console(file=StringIO(), width=110)
    console.print(knowledge_table.render(machine.describe("cpu"), rows))
    return console.file.getvalue()


def test_the_table_shows_everyone_and_the_growth(rows):
    shown = printed(rows)
    assert "40 passages" in shown
    assert shown.count("ours-bm25") == shown.count("ours-ngrams") == 1
    assert "10 is linear" in shown


def test_json_prints_one_object_and_progress_goes_elsewhere():
    done = CliRunner().invoke(bench, ["knowledge", "--json", "--passages", "100", "--repeats", "1"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["machine"]["cpu"]
    assert {"name", "value", "unit"} <= set(printed["rows"][0])
    assert "ours-bm25  built in" in done.stderr


def test_a_folder_without_documents_ends_with_one_line(tmp_path):
    done = CliRunner().invoke(bench, ["knowledge", "--data", str(tmp_path)])
    assert done.exit_code != 0
    assert done.stderr.startswith("frontdesk: ")
    assert "has no JSONL file with documents" in done.stderr
