"""The command line's part about the knowledge base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bots.console import run
from bots.redis_server import commands_client, redis_for
from bots.settings import Settings
from engine.library import Library

_LEARNED = ("added", "changed", "unchanged", "removed", "skipped")


def learn(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders: markdown, text, HTML, JSONL.")],
) -> None:
    """Put documents into the knowledge base."""

    async def main(settings: Settings) -> None:
        async with redis_for(settings, shared=True) as url, commands_client(url) as redis:
            results = await Library(redis).learn(paths)
        for result in results:
            if result.status != "unchanged":
                print(f"{result.status:9} {result.name}" + (f": {result.reason}" if result.reason else ""))
        counts = [f"{sum(r.status == s for r in results)} {s}" for s in _LEARNED]
        print(", ".join(counts))
        if results and all(result.status == "skipped" for result in results):
            raise typer.Exit(1)

    run(main, log_level="warning")
