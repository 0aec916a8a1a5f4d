"""The delivery benchmark on a few messages: every figure is there, in its unit, and judged by its target."""

import json
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bots.bench import delivery, delivery_table
from bots.bench_cli import bench
from engine.bench.machine import describe


@pytest.fixture
def short(monkeypatch):
    """Idle for less long."""
    monkeypatch.setattr(delivery, "_IDLE_SECONDS", 0.5)
    monkeypatch.setattr(delivery, "_CALM_SECONDS", 0.5)
    monkeypatch.setattr(delivery, "_IDLE_CONVERSATIONS", 20)
    monkeypatch.setattr(delivery, "_REST_LOOKS", 6)


async def test_it_measures_a_real_worker_on_a_real_redis(short):
    told = []
    rows = await delivery.measure(40, told.append, latency_messages=10)
    found = {row.metric: row for row in rows}
    assert len(found) == len(rows) == 15
    assert 0 < found[delivery.LATENCY_P50].value <= found[delivery.LATENCY_P99].value
    assert found[delivery.PROCESSOR].value > 0.1
    assert found[delivery.THROUGHPUT].value > 1
    assert found[delivery.MEMORY].value > 20
    assert found[delivery.CONVERSATION_BYTES].value > 100
    assert found[delivery.SHARE].value == 0
    assert len(told) == 4
    text = Console(file=StringIO(), width=100)
    text.print(delivery_table.render(describe("cpu"), rows))
    printed = text.file.getvalue()
    assert "event to reply p50" in printed
    assert "≥ 400" in printed


def test_the_command_prints_one_json_object(short, monkeypatch, tmp_path):
    async def measure(messages, tell):
        tell("measuring")
        return [delivery._row(delivery.THROUGHPUT, float(messages), "messages/s")]

    monkeypatch.setattr(delivery, "measure", measure)
    done = CliRunner().invoke(bench, ["delivery", "--json", "--messages", "70"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["metric"], row["value"], row["unit"]) == ("messages_per_second", 70.0, "messages/s")
    assert (
        json.loads(CliRunner().invoke(bench, ["delivery", "--json", "--long"]).stdout)["rows"][0]["value"]
        == 1e5
    )
