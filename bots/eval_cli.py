"""The command line's part that asks labelled questions: `frontdesk eval`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from bots.build import open_engine
from bots.console import out, progress, run
from bots.redis_server import commands_client, redis_for
from bots.settings import Settings
from engine.library.library import Library

if TYPE_CHECKING:
    from engine.evaluation.evaluation import Evaluation, Question, Result
    from engine.evaluation.report import Change, Summary

_FIGURES = {
    "right": "right: decision and answer as expected",
    "hit_at_1": "hit@1: the best document is an expected one",
    "hit_at_3": "hit@3: one of the best three is",
    "precision": "precision: right, of what was answered",
    "answered_right": "answered rightly, of what can be answered",
    "handed_over": "handed over, of all",
    "hand_over_right": "handed over, of what should be",
    "ask_back_right": "asked back, of what should be",
    "supported": "sentences supported by their citations",
    "true_offsets": "citations whose offsets are right",
}


def evaluate(
    data: Annotated[Path, typer.Argument(help='JSON lines of {"question", "history", "expect"}.')],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    compare: Annotated[
        Path | None, typer.Option(help="An earlier report from --json: list what changed since.")
    ] = None,
    min_precision: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail below this share right of the answered.")
    ] = None,
    min_hit1: Annotated[float | None, typer.Option(min=0, max=1, help="Fail below this hit@1.")] = None,
    max_handed_over: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail above this share of all handed over.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first so many.")] = None,
) -> None:
    """Ask your own labelled questions and count what is right.

    The exit code is 1 for a missed bound or, with --compare, for a row that got worse; 2 for bad input.
    """

    async def main(settings: Settings) -> None:
        from engine.evaluation.evaluation import Evaluation, read_questions
        from engine.evaluation.report import compare as compare_rows
        from engine.evaluation.report import read_report, summarise

        questions = read_questions(data, limit)
        old = read_report(compare) if compare else None
        async with redis_for(settings, shared=True) as url, commands_client(url) as redis:
            await Library(redis).seed(settings.knowledge)
            async with open_engine(settings, redis) as engine:
                evaluation = Evaluation(engine, await Library(redis).documents())
                results = await _ask_all(evaluation, questions)
        summary = summarise(results)
        rows = [result.to_json() for result in results]
        changes = compare_rows(old["rows"], rows) if old else []
        missed = _missed(summary, min_precision, min_hit1, max_handed_over)
        if as_json:
            report = {"summary": summary.to_json(), "missed": missed, "rows": rows}
            if old:
                report["changes"] = [change.to_json() for change in changes]
            print(json.dumps(report, ensure_ascii=False))
        else:
            _print_summary(summary, results)
            _print_changes(changes, is_compared=old is not None)
            for line in missed:
                out.print(f"missed: {line}", style="red", markup=False)
        if missed or any(change.kind == "worsened" for change in changes):
            raise typer.Exit(1)

    run(main, log_level="warning")


async def _ask_all(evaluation: Evaluation, questions: Sequence[Question]) -> list[Result]:
    errors = Console(stderr=True, highlight=False)
    for line, name in evaluation.unknown_documents(questions):
        errors.print(f"line {line}: there is no document {name!r} in the knowledge base", markup=False)
    results = []
    with progress() as bars:
        bar = bars.add_task("asking", total=len(questions))
        for question in questions:
            results.append(await evaluation.ask(question))
            bars.advance(bar)
    return results


def _missed(
    summary: Summary, min_precision: float | None, min_hit1: float | None, max_handed_over: float | None
) -> list[str]:
    """The bounds that were missed; what could not be measured has missed its own."""
    missed = []
    for name, bound in (("precision", min_precision), ("hit_at_1", min_hit1)):
        value = summary.shares[name].value
        if bound is not None and (value is None or value < bound):
            missed.append(f"{name} is {_number(value)}, at least {bound} was asked for")
    value = summary.shares["handed_over"].value
    if max_handed_over is not None and value is not None and value > max_handed_over:
        missed.append(f"handed_over is {_number(value)}, at most {max_handed_over} was asked for")
    return missed


def _print_summary(summary: Summary, results: Sequence[Result]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    for name, words in _FIGURES.items():
        share = summary.shares[name].to_json()
        low, high = share["interval"]
        counted = f"{share['right']} of {share['count']}"
        table.add_row(
            words, _number(share["value"]), counted, f"{low:.2f}–{high:.2f}" if share["count"] else ""
        )
    table.add_row("AUROC of the confidence, answerable or not", _number(summary.auroc), "", "")
    table.add_row("time: median, 95th percentile", f"{summary.median_ms:.0f}", f"{summary.p95_ms:.0f} ms", "")
    out.print(table)
    if wrong := [result for result in results if not result.is_right]:
        out.print("\nNot as expected:")
    for result in wrong:
        sources = ", ".join(result.cited) or result.decision
        out.print(f"  line {result.question.line}: {result.question.text} → {sources}", markup=False)


def _print_changes(changes: Sequence[Change], *, is_compared: bool) -> None:
    if not is_compared:
        return
    out.print(f"\n{len(changes)} changed since the earlier report." if changes else "\nNothing changed.")
    for change in changes:
        out.print(f"  {change.kind}, line {change.line}: {change.question}", markup=False)
        for line in change.what:
            out.print(f"    {line}", markup=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
