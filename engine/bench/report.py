"""The whole run: builds the models, measures the parts, computes what is relative to others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.bench import conversation, engine_part, figures, http_part, machine, models
from engine.bench.contestant import CannotRun
from engine.bench.models import RandomModel
from engine.bench.plan import Plan
from engine.bench.process import Process
from engine.bench.row import Row

BANDWIDTH = "read_bandwidth"


@dataclass(frozen=True, slots=True)
class Report:
    """What `--json` prints, and the table shows."""

    machine: dict[str, Any]
    rows: list[Row]


def measure(plan: Plan, say: Callable[[str], None]) -> Report:
    """Run the plan; `say` is told how far it is. Takes minutes, and all cores."""
    about, rows = machine.describe(plan.device), list[Row]()
    with tempfile.TemporaryDirectory(prefix="frontdesk-bench-") as folder:
        built: dict[str, RandomModel] = {}

        def model(name: str) -> RandomModel:
            if name not in built:
                say(f"building {name}")
                built[name] = models.build(name, Path(folder), plan.device)
            return built[name]

        say("memory bandwidth")
        ways = _bandwidth(plan.device)
        for name in plan.models if plan.contestants else ():
            rows += engine_part.measure(plan, model(name), say)
            # Again, as the machine's other guests may have been at work the first time.
            ways = {way: max(speed, ways[way]) for way, speed in _bandwidth(plan.device).items()}
        if "conversation" in plan.names:
            say("a growing conversation")
            rows += conversation.measure(plan, model(plan.conversation_model), say)
        if "http" in plan.names:
            say(f"HTTP, {plan.http_clients} clients")
            rows += http_part.measure(plan, model(plan.models[0]), say)
        step_weights = {name: each.step_weights for name, each in built.items()}
    limit = max(ways.values())
    return Report(about, [_limit_row(ways), *_with_relations(rows, step_weights, limit)])


def _with_relations(rows: list[Row], step_weights: dict[str, int], bandwidth: float) -> list[Row]:
    """The rows, percents of the bandwidth, and ratios."""
    measured = [row for row in rows if row.part == engine_part.PART]
    shares = [
        share
        for name, weights in step_weights.items()
        for share in figures.bandwidth_shares([r for r in measured if r.model == name], weights, bandwidth)
    ]
    return [*rows, *shares, *figures.ratios(measured)]


def _bandwidth(device: str) -> dict[str, float]:
    """Bytes a second by way of reading, measured in a process of its own."""
    with Process("engine.bench.bandwidth", device) as process:
        try:
            return process.read()
        except CannotRun as reason:
            raise RuntimeError(f"the memory bandwidth cannot be measured: {reason}") from reason


def _limit_row(ways: dict[str, float]) -> Row:
    best = max(ways, key=lambda way: ways[way])
    gigabytes = {way: round(speed / 1e9, 2) for way, speed in ways.items()}
    extras = (("best_way", best), ("ways", gigabytes))
    return Row(BANDWIDTH, ways[best] / 1e9, "GB/s", part="machine", extras=extras)
