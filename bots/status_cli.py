"""The command line's look at the delivery: `frontdesk status`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from bots.console import run
from bots.pulse import Connection
from bots.redis_server import commands_client, redis_for
from bots.settings import Settings
from bots.status import Status, WorkerState, read_status


def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show what waits, who works on it, what was given up, and how the platforms are connected."""

    async def main(settings: Settings) -> None:
        async with redis_for(settings, shared=True) as url, commands_client(url) as redis:
            found = await read_status(redis)
        if as_json:
            print(
                json.dumps(found.to_dict() | {"alarms": list(_alarms(found, settings))}, ensure_ascii=False)
            )
        else:
            _print(found, settings)

    run(main, log_level="warning")


def _alarms(found: Status, settings: Settings) -> Iterator[str]:
    """What somebody has to look after."""
    if not found.workers:
        yield "no worker is running: `frontdesk up` or `frontdesk worker` starts one"
    elif found.unattended:
        yield f"{found.unattended} partitions with messages wait for a worker to take them over"
    if found.dead_letters:
        yield f"{found.dead_letters} messages were given up: see `frontdesk dead-letters list`"
    connected = {connection.platform for connection in found.connections}
    for platform in settings.platforms:
        if platform not in connected:
            yield f"{platform}: nobody receives; `frontdesk up` or `frontdesk {platform}` does"
    for connection in found.connections:
        if connection.state != "connected":
            yield f"{connection.platform}: {connection.state} {_since(connection)}; its log says why"


def _print(found: Status, settings: Settings) -> None:
    about = "about " if found.is_estimated else ""
    print(f"backlog         {found.backlog}{_listed(found.platforms, about)}")
    if found.backlog:
        print(f"oldest waiting  {found.oldest_waiting_seconds:.1f} s")
        busiest = ", ".join(f"{load.waiting} in {load.partition}" for load in found.busiest)
        print(f"busiest         {busiest}")
    print(f"in flight       {found.in_flight}")
    print(f"workers         {len(found.workers)}")
    for worker in found.workers:
        print(f"                {_worker(worker)}")
    print(f"dead letters    {found.dead_letters}")
    print(f"ratings         {found.ratings.rated}, {found.ratings.helpful} of them helpful")
    for connection in found.connections:
        seen = f"{connection.events} events, lost {connection.losses} times"
        print(f"{connection.platform:15} {connection.state} {_since(connection)}, {seen}")
    print(f"so far          {', '.join(f'{name} {number}' for name, number in found.counters.items())}")
    for alarm in _alarms(found, settings):
        print(f"look            {alarm}")


def _listed(numbers: Mapping[str, int], about: str) -> str:
    listed = ", ".join(f"{name} {number}" for name, number in numbers.items())
    return f" ({about}{listed})" if listed else ""


def _worker(worker: WorkerState) -> str:
    return f"{worker.id}: {worker.partitions} partitions, {worker.in_hand} messages in hand"


def _since(connection: Connection) -> str:
    minutes, seconds = divmod(max(0, round(time.time() - connection.since)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"for {hours} h {minutes} min" if hours else f"for {minutes} min {seconds} s"
