"""The chunker benchmark on a little text: who takes part, what is counted, what is printed."""

import importlib.util
import json
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bots.bench_cli import bench
from engine.bench import chunk_part as part
from engine.bench import chunk_table
from engine.bench.chunk_peers import NAMES, OURS, TIKTOKEN, TOKENIZERS, Budget, Chunk, make
from engine.bench.chunk_texts import collect, train
from engine.bench.contestant import CannotRun
from engine.bench.figures import CANNOT_RUN
from engine.bench.machine import describe
from engine.errors import BadRequest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "support"
MODULES = {
    "langchain": "langchain_text_splitters",
    "chonkie": "chonkie",
    "semchunk": "semchunk",
    "semantic": "semantic_text_splitter",
}


@pytest.fixture(scope="module")
def pages():
    return collect(None, 0.03)


@pytest.fixture(scope="module")
def budget(pages):
    return Budget(train(pages), 64, 16)


def test_the_sample_pages_come_again_until_there_is_enough_text(pages):
    assert 30_000 <= sum(len(page.encode()) for page in pages) < 34_000
    again = collect(None, 0.1)
    assert len(again) > len(set(again)) == 26


def test_markdown_is_taken_from_files_and_rows(tmp_path):
    (tmp_path / "a.md").write_text("# One\n", encoding="utf-8")
    rows = [{"id": "x:b.md", "text": "# Two"}, {"id": "c", "path": "c.md", "text": "# Three"}, {"id": "d"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert collect(tmp_path, 0.000_01) == ["# One\n", "# Two"]
    assert set(collect(tmp_path, 0.000_1)) == {"# One\n", "# Two", "# Three"}


def test_a_folder_without_markdown_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="no markdown"):
        collect(tmp_path, 1)


@pytest.mark.parametrize("name", NAMES)
def test_each_cuts_a_page_into_chunks_of_it(budget, pages, name):
    module = MODULES.get(name.partition(" ")[0])
    if module and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    chunks = make(name, budget)(pages[0])
    assert len(chunks) > 3
    assert all(chunk.text in pages[0] for chunk in chunks)


def test_ours_keeps_every_promise_and_is_measured_against_the_tokenizer(budget, pages, monkeypatch):
    monkeypatch.setattr(part, "NAMES", (OURS,))
    rows = {row.name: row for row in part.measure(pages, budget, 2, lambda line: None)}
    assert rows[f"{OURS}/{part.CHUNKS}"].value > 100
    assert 48 < rows[f"{OURS}/{part.LARGEST}"].value <= 64
    assert [rows[f"{OURS}/{metric}"].value for metric in (part.OVER, part.WRONG, part.LOST)] == [0, 0, 0]
    assert len(rows[f"{OURS}/{part.OVER_TIKTOKEN}"].values) == 2
    assert {f"{TOKENIZERS}/{part.SPEED}", f"{TIKTOKEN}/{part.SPEED}"} <= rows.keys()


def test_broken_promises_are_counted(budget, monkeypatch):
    page = "the quick brown fox\nand more"
    chunks = [Chunk("the quick", 0), Chunk("brown fox", 3), Chunk("word " * 70, 0)]
    monkeypatch.setattr(part, "NAMES", (OURS,))
    monkeypatch.setattr(part, "make", lambda name, given: lambda text: chunks)
    values = {row.metric: row.value for row in part.measure([page], budget, 1, lambda line: None)}
    assert (values[part.CHUNKS], values[part.OVER], values[part.WRONG]) == (3, 1, 2)
    assert values[part.LOST] == len("andmore")
    assert values[part.LARGEST] >= 70


def test_a_package_that_is_missing_is_the_reason(budget, pages, monkeypatch):
    monkeypatch.setitem(sys.modules, "semchunk", None)
    with pytest.raises(CannotRun, match="not installed"):
        make("semchunk", budget)
    monkeypatch.setattr(part, "NAMES", (OURS, "semchunk"))
    rows = part.measure(pages[:1], budget, 1, lambda line: None)
    assert [row.contestant for row in rows if row.metric == CANNOT_RUN] == ["semchunk"]
    page = printed(rows)
    assert "not measured: semchunk: not installed: pip install 'frontdesk[bench]'" in page
    assert OURS in page


def printed(rows):
    text = StringIO()
    Console(file=text, width=100).print(chunk_table.render(describe("cpu"), rows, 64, 16))
    return text.getvalue()


def test_the_command_prints_machine_and_rows(monkeypatch):
    monkeypatch.setattr(part, "NAMES", (OURS,))
    options = ["--json", "--megabytes", "0.02", "--repeats", "1", "--size", "32", "--overlap", "8"]
    done = CliRunner().invoke(bench, ["chunker", *options])
    told = json.loads(done.stdout)
    assert told["machine"]["cores"] > 0
    assert all({"name", "value", "unit"} <= row.keys() for row in told["rows"])


def test_an_overlap_as_large_as_a_chunk_is_refused():
    done = CliRunner().invoke(bench, ["chunker", "--size", "32", "--overlap", "32"])
    assert done.exit_code == 2
    assert "--size" in done.stderr


@pytest.mark.skipif(not SHARED.is_dir(), reason="the development rows are not beside the repository")
def test_no_page_of_the_development_rows_has_a_window_over_budget(budget, monkeypatch):
    pages = collect(SHARED, 0.3)
    monkeypatch.setattr(part, "NAMES", (OURS,))
    values = {row.metric: row.value for row in part.measure(pages, budget, 1, lambda line: None)}
    assert (values[part.OVER], values[part.WRONG], values[part.LOST]) == (0, 0, 0)
