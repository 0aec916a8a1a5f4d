"""The command line's part that measures: `frontdesk bench …`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from bots.console import out, run
from bots.settings import Settings
from engine.bench.row import Row, report_json

# Messages after which memory that grows is seen to grow.
_LONG = 100_000

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
    _print(done.machine, done.rows, table.render(done), as_json=as_json)


@bench.command("knowledge")
def bench_knowledge(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="JSONL files with texts and queries, not the sample pages."
        ),
    ] = None,
    passages: Annotated[
        int, typer.Option(min=100, help="And ten times as many, to see the growth.")
    ] = 10_000,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure lexical search beside bm25s: build, queries, memory, growth. Takes a minute or two."""
    from engine.bench import knowledge_part, knowledge_table
    from engine.bench.knowledge_texts import Texts, collect
    from engine.bench.machine import describe

    found: list[Texts] = []

    async def main(settings: Settings) -> None:
        found.append(collect(data, knowledge_part.GROWTH * passages))

    run(main, log_level="warning")
    about = describe("cpu")
    rows = knowledge_part.measure(found[0], repeats, lambda line: print(line, file=sys.stderr))
    _print(about, rows, knowledge_table.render(about, rows), as_json=as_json)


@bench.command("chunker")
def bench_chunker(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Markdown files or JSONL, not the sample pages."),
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="Tokens in a chunk.")] = 256,
    overlap: Annotated[int, typer.Option(min=0, help="Tokens that neighbours share.")] = 64,
    megabytes: Annotated[float, typer.Option(min=0.01, help="Of text; pages come again if need be.")] = 1.0,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure the sliding windows beside other chunkers: speed, and what they promise. Takes minutes."""
    from engine.bench import chunk_part, chunk_table
    from engine.bench.chunk_peers import Budget
    from engine.bench.chunk_texts import collect, train
    from engine.bench.machine import describe

    if overlap >= size:
        raise typer.BadParameter("must be less than --size", param_hint="--overlap")
    found: list[list[str]] = []

    async def main(settings: Settings) -> None:
        found.append(collect(data, megabytes))

    run(main, log_level="warning")
    about, pages = describe("cpu"), found[0]
    budget = Budget(train(pages), size, overlap)
    rows = chunk_part.measure(pages, budget, repeats, lambda line: print(line, file=sys.stderr))
    _print(about, rows, chunk_table.render(about, rows, size, overlap), as_json=as_json)


@bench.command("answering")
def bench_answering(
    data: Annotated[Path, typer.Option(help="A folder with labelled questions, as JSONL.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Where vectors are kept between two runs.")] = None,
) -> None:
    """Measure answering and abstaining beside plain searches on the same questions. Takes minutes."""
    from engine.bench import answering, answering_table
    from engine.bench.answering_cache import CachedEmbedder
    from engine.bench.machine import describe
    from engine.generation.model import choose_device
    from engine.search.embedder import load_embedder

    found: list[CachedEmbedder | None] = []

    async def main(settings: Settings) -> None:
        embedder = load_embedder(settings.embedder, choose_device(settings.device))
        folder = cache or Path.home() / ".cache" / "frontdesk"
        found.append(CachedEmbedder(embedder, folder) if embedder else None)

    run(main, log_level="warning")
    about, (embedder,) = describe("cpu"), found
    try:
        rows = answering.measure(data, embedder, lambda line: print(line, file=sys.stderr))
    finally:
        if embedder:
            embedder.save()
    _print(about, rows, answering_table.render(about, rows), as_json=as_json)


@bench.command("delivery")
def bench_delivery(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    messages: Annotated[int, typer.Option(min=10, help="Through a worker's process.")] = 5_000,
    is_long: Annotated[bool, typer.Option("--long", help="100,000 messages: does memory grow?")] = False,
) -> None:
    """Measure the way from a message to its reply without a model: time, throughput, idle cost. A minute."""
    from bots.bench import delivery, delivery_table
    from engine.bench.machine import describe

    about, found = describe("cpu"), []

    async def main(settings: Settings) -> None:
        count = _LONG if is_long else messages
        found.extend(await delivery.measure(count, lambda line: print(line, file=sys.stderr)))

    run(main, log_level="warning")
    _print(about, found, delivery_table.render(about, found), as_json=as_json)


def _print(machine: Mapping[str, Any], rows: Sequence[Row], table: RenderableType, *, as_json: bool) -> None:
    """What was measured: one JSON object, or a table."""
    if as_json:
        print(json.dumps(report_json(machine, rows), ensure_ascii=False))
    else:
        out.print(table)
