"""A conversation that grows: how long the first token takes in each turn, with prefix reuse and without."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from engine.bench import figures, roster
from engine.bench.contestant import CannotRun, Workload
from engine.bench.models import RandomModel
from engine.bench.plan import Plan
from engine.bench.process import ContestantProcess
from engine.bench.rounds import Worker, random_prompts
from engine.bench.row import Row

PART = "conversation"
LAST_OVER_FIRST = "last_turn_over_first"
_PAUSE_SECONDS = 0.3


def measure(plan: Plan, model: RandomModel, say: Callable[[str], None]) -> list[Row]:
    """Rows by turn for both ways, and for each how many times as long the last turn takes as the first."""
    name = f"{roster.OURS}-{plan.precision}"
    tokens = plan.turns * (plan.turn_tokens + plan.new_tokens)
    processes: dict[str, ContestantProcess] = {}
    found: dict[str, list[list[float]]] = {}
    try:
        for label, reuse in (("reuse", True), ("no-reuse", False)):
            workload = Workload(1, tokens, reuse)
            processes[label] = ContestantProcess(name, model.directory, plan.device, workload)
            found[label] = []
        for repeat in range(-1, plan.repeats):
            for label, process in processes.items():
                time.sleep(_PAUSE_SECONDS)
                seconds = _talk(process, plan, model, f"conversation {repeat}")
                if repeat >= 0:  # the first is for warming up
                    found[label].append(seconds)
                    say(f"  {label}  first turn {seconds[0]:.3f} s, last {seconds[-1]:.3f} s")
    except CannotRun as reason:
        return [figures.skipped(model.name, name, PART, str(reason))]
    finally:
        for process in processes.values():
            process.close()
    return [row for label, repeats in found.items() for row in _rows(label, repeats, model.name, name)]


def _talk(worker: Worker, plan: Plan, model: RandomModel, label: str) -> list[float]:
    """Seconds to the first token of each turn; each begins with all that was said before."""
    said: list[int] = []
    seconds = []
    for question in random_prompts(label, plan.turns, plan.turn_tokens, model.vocabulary):
        said = said + question
        run = worker.generate([said], plan.new_tokens)
        seconds.append(run.times[0][0])
        said = said + run.token_ids[0]
    return seconds


def _rows(label: str, repeats: list[list[float]], model: str, contestant: str) -> list[Row]:
    rows = []
    for turn, seconds in enumerate(zip(*repeats, strict=True), 1):
        values = tuple(1000 * each for each in seconds)
        metric = f"{label}/turn-{turn}/{figures.FIRST_TOKEN}"
        rows.append(Row(metric, median(values), "ms", PART, model, contestant, values=values))
    shares = tuple(each[-1] / each[0] for each in repeats)
    metric = f"{label}/{LAST_OVER_FIRST}"
    return [*rows, Row(metric, median(shares), "×", PART, model, contestant, values=shares)]
