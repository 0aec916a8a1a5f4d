"""A worker in a process of its own for `frontdesk bench delivery`, with an engine that answers at once.

A line on standard input asks how much processor time and memory it took. It ends when its input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bots import keys
from bots.bench.delivery_platform import NAME, BenchSender
from bots.build import Store, build_worker, open_store
from bots.console import loop_runner
from bots.partitions import LOOK_SECONDS, survey
from bots.registry import Registry
from bots.settings import Settings, load_settings
from engine import log
from engine.bench.memory import resident
from engine.types import ChatRequest, Outcome, Piece

ANSWER = "You can return it within thirty days, in the box it came in."


class InstantEngine:
    """Has its answer ready."""

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """As `Engine.chat`."""
        yield ANSWER
        yield Outcome(language="en")


def bench_settings(data_dir: Path) -> Settings:
    """A Redis and a key of its own, whatever is set; no limits, for one author floods here."""
    own = dict.fromkeys(("redis_url", "master_key", "master_key_command"))
    limits = dict.fromkeys(
        (f"limit_{name}" for name in ("person", "channel", "workspace", "tokens", "queue")), 0
    )
    return load_settings(data_dir=data_dir, **own, **limits)


@asynccontextmanager
async def working(store: Store, platform_url: str) -> AsyncIterator[None]:
    """A worker in this process, ready."""
    sender, stop = BenchSender(platform_url), asyncio.Event()
    worker = build_worker(store, InstantEngine(), Registry(), {NAME: sender})
    running = asyncio.create_task(worker.run(stop))
    while not await _is_shared_out(store):
        await asyncio.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        stop.set()
        await running
        await sender.close()


async def _is_shared_out(store: Store) -> bool:
    """Whether every partition has a worker that lives."""
    found = await survey(store.redis)
    return all(found.owner(partition) is not None for partition in range(keys.PARTITIONS))


async def _main(redis_url: str, data_dir: str, platform_url: str) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async with open_store(bench_settings(Path(data_dir)), redis_url) as store, working(store, platform_url):
        while await reader.readline():
            gc.collect()
            print(json.dumps({"cpu": time.process_time(), "memory": resident()}), flush=True)


if __name__ == "__main__":
    log.configure("error")
    with contextlib.suppress(KeyboardInterrupt):
        loop_runner()(_main(*sys.argv[1:]))
