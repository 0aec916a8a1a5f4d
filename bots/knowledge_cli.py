"""The command line's part about the knowledge base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from bots.console import run
from bots.errors import StartError
from bots.redis_server import commands_client, redis_for
from bots.settings import Settings
from engine.library.catalogue import Entry
from engine.library.documents import scope_of
from engine.library.lesson import Learned
from engine.library.library import Library
from engine.search.embedder_package import package_problem

EVERYWHERE = "everywhere"
_STATUSES = ("added", "changed", "unchanged", "removed", "skipped")


def learn(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders and web addresses: markdown, text, HTML, PDF, JSON lines."),
    ] = None,
    places: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="PLACE",
            help="Quote it there alone: slack:WORKSPACE or slack:WORKSPACE:CHANNEL. May be repeated. "
            f"`{EVERYWHERE}` takes that back.",
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take them out; ids may be named too.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Show what is known.")] = False,
) -> None:
    """Put documents into the knowledge base, or take them out."""

    async def main(settings: Settings) -> None:
        scope = _scope(places)
        if not names and not show:
            raise StartError("name files, folders or addresses to learn, or --list what is known")
        async with redis_for(settings, shared=True) as url, commands_client(url) as redis:
            library = Library(redis, settings.allowed_hosts)
            if names:
                results = await (library.remove(names) if remove else library.learn(names, scope=scope))
                _print_results(results)
            if show:
                _print_entries(list((await library.catalogue()).values()))
        if names and not remove and settings.embedder is None and (problem := package_problem()):
            print(f"warning   {problem}")
        if names and results and all(result.status == "skipped" for result in results):
            raise typer.Exit(1)

    run(main, log_level="warning")


def _scope(places: list[str] | None) -> str | None:
    if not places:
        return None
    try:
        return scope_of(place for place in places if place != EVERYWHERE)
    except ValueError as error:
        raise StartError(f"--for {error}") from error


def _print_results(results: Sequence[Learned]) -> None:
    for result in results:
        if result.status != "unchanged":
            print(f"{result.status:9} {result.name}" + (f": {result.reason}" if result.reason else ""))
    print(", ".join(f"{sum(r.status == s for r in results)} {s}" for s in _STATUSES))


def _print_entries(entries: Sequence[Entry]) -> None:
    for entry in entries:
        where = entry.scope or EVERYWHERE
        print(f"{entry.kind:4} {entry.passages:5} passages  {where}  {entry.id}")
    print(f"{len(entries)} documents, {sum(entry.passages for entry in entries)} passages")
