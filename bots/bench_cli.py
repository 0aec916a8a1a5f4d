"""The command line's part that measures: `frontdesk bench …`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from bots.console import out, run
from bots.settings import Settings

bench = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@bench.command("engine")
def bench_engine(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    model: Annotated[
        list[str] | None, typer.Option(help="gpt2, qwen, qwen3-0.6b, qwen3-8b; may be given several times.")
    ] = None,
    concurrency: Annotated[str, typer.Option(help="How many at a time, such as 1,8,32.")] = "",
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    only: Annotated[
        list[str] | None, typer.Option(help="A contestant, a family of them, conversation, or http.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few tokens, once: a first impression.")] = False,
) -> None:
    """Measure the generation engine beside others, on models with random weights. Takes minutes."""
    from engine.bench import report, table
    from engine.bench.plan import Plan, make_plan, numbers
    from engine.generation.model import choose_device

    plans: list[Plan] = []

    async def main(settings: Settings) -> None:
        plan = make_plan(
            choose_device(settings.device).type,
            models_wanted=model or (),
            concurrency=numbers(concurrency),
            repeats=repeats,
            only=only or (),
            quick=quick,
        )
        plans.append(plan)

    run(main, log_level="warning")
    # Outside of the event loop, so that Ctrl-C ends it at once.
    done = report.measure(plans[0], lambda line: print(line, file=sys.stderr))
    if as_json:
        print(json.dumps(done.to_json(), ensure_ascii=False))
    else:
        out.print(table.render(done))
