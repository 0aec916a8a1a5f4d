"""The main part: all contestants on one model, at each concurrency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from engine.bench import figures
from engine.bench.contestant import CannotRun, Workload
from engine.bench.models import RandomModel
from engine.bench.plan import Plan
from engine.bench.process import ContestantProcess
from engine.bench.rounds import SERIAL_PROMPTS, interleave, random_prompts
from engine.bench.row import Row

PART = "engine"


def measure(plan: Plan, model: RandomModel, say: Callable[[str], None]) -> list[Row]:
    """Rows of every contestant; one that cannot run has a row with its reason."""
    workload = Workload(max(plan.concurrency), plan.prompt_tokens + plan.new_tokens)
    rows: list[Row] = []
    with opened(plan.contestants, model, plan.device, workload, PART, rows) as processes:
        for concurrency in plan.concurrency:
            say(f"{model.name}, {concurrency} at a time")
            rows += _at(concurrency, plan, model, processes, say)
        for process in processes.values():
            rows.append(_memory(model, process))
    return rows


@contextmanager
def opened(
    names: list[str], model: RandomModel, device: str, workload: Workload, part: str, rows: list[Row]
) -> Iterator[dict[str, ContestantProcess]]:
    """Processes of all who can run, the model loaded; `rows` gets the reasons of the others."""
    processes: dict[str, ContestantProcess] = {}
    try:
        for name in names:
            try:
                processes[name] = ContestantProcess(name, model.directory, device, workload)
            except CannotRun as reason:
                rows.append(figures.skipped(model.name, name, part, str(reason)))
        yield processes
    finally:
        for process in processes.values():
            process.close()


def _at(
    concurrency: int,
    plan: Plan,
    model: RandomModel,
    processes: dict[str, ContestantProcess],
    say: Callable[[str], None],
) -> list[Row]:
    def prompts(label: str) -> list[list[int]]:
        return random_prompts(f"{concurrency} {label}", concurrency, plan.prompt_tokens, model.vocabulary)

    runs, broken = interleave(processes, prompts, plan.new_tokens, plan.repeats, say)
    rows = []
    for name, reason in broken.items():
        processes.pop(name).close()
        rows.append(replace(figures.skipped(model.name, name, PART, reason), concurrency=concurrency))
    for name, found in runs.items():
        base = Row("", None, "", PART, model.name, name, concurrency)
        if processes[name].is_serial and concurrency > SERIAL_PROMPTS:
            base = replace(base, extras=(("prompts", SERIAL_PROMPTS),))
        rows += figures.rows_of(base, found, plan.prompt_tokens)
    return rows


def _memory(model: RandomModel, process: ContestantProcess) -> Row:
    """The peak since the model was loaded; `idle_mb` is what the libraries alone take."""
    base = Row(figures.PEAK_MEMORY, None, "MB", PART, model.name, process.name)
    try:
        told = process.memory()
    except CannotRun as reason:
        return replace(base, metric=figures.CANNOT_RUN, reason=str(reason))
    extras = [("idle_mb", round(process.idle_bytes / 1e6, 1))]
    if told["gpu_peak_bytes"] is not None:
        extras.append(("gpu_mb", round(told["gpu_peak_bytes"] / 1e6, 1)))
    assert told["peak_bytes"] is not None
    return replace(base, value=told["peak_bytes"] / 1e6, extras=tuple(extras))
