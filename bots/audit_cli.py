"""`frontdesk audit`: what somebody may have to answer for."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer

from bots.audit import Audit
from bots.console import out, run
from bots.redis_server import commands_client, redis_for
from bots.settings import Settings


def audit(
    count: Annotated[int, typer.Option(min=1, help="How many of the newest events.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what was noted to be looked at later, such as posts that may be there twice."""

    async def main(settings: Settings) -> None:
        async with redis_for(settings, shared=True) as url, commands_client(url) as redis:
            events = await Audit(redis, settings.retention_days).events(count)
        for event in events:
            if as_json:
                print(json.dumps(asdict(event), ensure_ascii=False))
            else:
                when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event.at))
                details = " ".join(f"{name}={value}" for name, value in event.details.items())
                out.print(f"{when} UTC  {event.what}  {details}", markup=False, soft_wrap=True)
        if not events and not as_json:
            out.print("Nothing was noted.")

    run(main, log_level="warning")
