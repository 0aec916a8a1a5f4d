"""The command line's part about knowing what it does not know: `frontdesk calibrate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import TaskID
from rich.table import Table

from bots.console import out, progress, run
from bots.errors import StartError
from bots.redis_server import commands_client, redis_for
from bots.settings import Settings
from engine.library.library import Library

if TYPE_CHECKING:
    from engine.evaluation.calibration import Case, Point
    from engine.evaluation.calibration_run import Fitted

_BAR = 20
_MOST_MISTAKEN = 8


def calibrate(
    precision: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Share of what is answered that shall be right.")
    ] = 0.95,
    unknown: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of questions that your pages do not answer.")
    ] = 0.3,
    png: Annotated[Path | None, typer.Option(help="Draw the curve into this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Fit and show, but change nothing.")] = False,
) -> None:
    """Fit how sure the bot must be to answer, by withholding your own entries in turn."""

    async def main(settings: Settings) -> None:
        from engine.evaluation.calibration_run import fit
        from engine.evaluation.calibration_store import CalibrationStore
        from engine.generation.model import choose_device
        from engine.search.embedder import load_embedder
        from engine.search.knowledge import KnowledgeBase

        async with redis_for(settings, shared=True) as url, commands_client(url) as redis:
            await Library(redis).seed(settings.knowledge)
            knowledge = KnowledgeBase(redis, load_embedder(settings.embedder, choose_device(settings.device)))
            await knowledge.refresh()
            with progress() as bars:
                tasks: dict[str, TaskID] = {}

                def show(stage: str, done: int, total: int) -> None:
                    if stage not in tasks:
                        tasks[stage] = bars.add_task(stage)
                    bars.update(tasks[stage], completed=done, total=total)

                fitted = await fit(knowledge, precision=precision, unknown=unknown, on_progress=show)
            is_stored = False
            if fitted.calibration is not None and not dry_run:
                await CalibrationStore(redis).save(fitted.calibration)
                is_stored = True
        if png and fitted.points:
            _draw(png, fitted, precision)
        if as_json:
            print(json.dumps(_calibration_json(fitted, is_stored), ensure_ascii=False))
        else:
            _print_calibration(fitted, is_stored, settings.hand_over_below)
        if fitted.points and fitted.calibration is None:
            raise typer.Exit(1)

    run(main, log_level="warning")


def _draw(path: Path, fitted: Fitted, precision: float) -> None:
    from engine.evaluation.plot import save_curve

    title = f"{fitted.entries} entries, each withheld in turn"
    try:
        save_curve(path, fitted.points, fitted.chosen, precision, title)
    except OSError as error:
        raise StartError(f"--png {path}: {error.strerror or error}") from error


def _calibration_json(fitted: Fitted, is_stored: bool) -> dict[str, Any]:
    return {
        "calibration": asdict(fitted.calibration) if fitted.calibration else None,
        "stored": is_stored,
        "reason": fitted.reason,
        "entries": fitted.entries,
        "curve": [asdict(point) for point in fitted.points],
        "mistaken": [asdict(case) for case in fitted.mistaken],
    }


def _print_calibration(fitted: Fitted, is_stored: bool, setting: float | None) -> None:
    if fitted.points:
        out.print(_curve_table(fitted.points, fitted.chosen))
    if fitted.reason:
        out.print(fitted.reason, markup=False)
    _print_mistaken(fitted.mistaken)
    if (found := fitted.calibration) is None:
        return
    low, high = found.interval
    out.print(
        f"\nFrom a confidence of {found.threshold:.3f} on {found.precision:.1%} of the answers are right "
        f"({low:.0%} to {high:.0%}); {found.share:.0%} of the known questions are answered rightly, "
        f"{found.refused:.0%} of the unknown ones are not answered. Measured on {found.entries} entries.",
        markup=False,
    )
    out.print("Stored: every engine uses it from now on." if is_stored else "Nothing was stored.")
    if is_stored and setting is not None:
        out.print(f"But the setting hand_over_below = {setting} wins; take it away to use the calibration.")


def _curve_table(points: Sequence[Point], chosen: Point | None) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("confidence", "right, of\nanswered", "95 %\ninterval", "answered rightly,\nof known"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("not answered,\nof unknown", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    shown = [*points[::2], *([chosen] if chosen else [])]
    for point in sorted(shown, key=lambda point: point.threshold):
        is_chosen = point is chosen
        table.add_row(
            f"{point.threshold:.3f}",
            f"{point.precision:.1%}",
            f"{point.low:.0%}–{point.high:.0%}",
            f"{point.share:.0%}",
            f"{point.refused:.0%}",
            "█" * round(_BAR * point.share) + (" ← chosen" if is_chosen else ""),
            style="bold" if is_chosen else None,
        )
    return table


def _print_mistaken(mistaken: Sequence[Case]) -> None:
    """What a team can mend: entries that are taken for others, and gaps that others fill."""
    if not mistaken:
        return
    out.print(f"\nAnswered wrongly although withheld or known otherwise ({len(mistaken)}), the surest first:")
    for case in mistaken[:_MOST_MISTAKEN]:
        why = "taken for" if case.is_known else "not known, answered by"
        out.print(f"  {case.confidence:.2f} {case.question} — {why}: {case.best}", markup=False)
