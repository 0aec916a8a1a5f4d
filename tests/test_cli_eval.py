"""`frontdesk eval` and `frontdesk calibrate` as people type them: what they print, and their exit codes."""

import json

import pytest
from typer.testing import CliRunner

from bots.cli import app


@pytest.fixture
def beside(frontdesk_up, monkeypatch):
    """Commands in this process beside a running frontdesk."""
    for name, value in frontdesk_up.environment.items():
        if name.startswith("FRONTDESK_"):
            monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [
        {"question": "How long do I have to return something?", "expect": {"documents": ["returns.md"]}},
        {"question": "Who won the 1998 World Cup?", "expect": "hand_over"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_bad_lines_are_named_and_nothing_is_asked(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"question": "a", "expect": "hand_over"}\n{"question": "b"}\n')
    result = CliRunner().invoke(app, ["eval", str(path)])
    assert result.exit_code == 2
    assert "line 2: 'expect' is missing" in result.stderr
    assert result.stdout == ""


def test_the_running_engine_is_asked_and_reported_on(beside, questions):
    result = beside("eval", questions, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["decision"] for row in report["rows"]] == ["answer", "hand_over"]
    assert report["summary"]["precision"]["value"] == 1.0
    assert report["summary"]["true_offsets"]["right"] == report["summary"]["true_offsets"]["count"] > 0
    assert report["missed"] == []


def test_a_missed_bound_and_a_worsened_row_fail(beside, questions, tmp_path):
    old = tmp_path / "old.json"
    old.write_text(beside("eval", questions, "--json").stdout)
    same = beside("eval", questions, "--compare", old, "--min-precision", "0.9", "--min-hit1", "0.5")
    assert same.exit_code == 0, same.output
    assert "Nothing changed." in same.stdout
    missed = beside("eval", questions, "--max-handed-over", "0.1")
    assert missed.exit_code == 1
    assert "missed: handed_over is 0.500" in missed.stdout
    questions.write_text(questions.read_text().replace("returns.md", "shipping.md"))
    worse = beside("eval", questions, "--compare", old)
    assert worse.exit_code == 1
    assert "worsened, line 1" in worse.stdout


def test_too_few_entries_leave_the_default(monkeypatch, redis_url, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n## Parking\n\nBehind the house.\n")
    monkeypatch.setenv("FRONTDESK_REDIS_URL", redis_url)
    monkeypatch.setenv("FRONTDESK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FRONTDESK_KNOWLEDGE", str(page))
    result = CliRunner().invoke(app, ["calibrate", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["calibration"], report["stored"], report["entries"]) == (None, False, 1)
    assert "too few" in report["reason"]
