"""The engine's HTTP server, as the benchmark starts it in a process of its own.

`python -m engine.bench.http_child DIRECTORY DEVICE PRECISION CLIENTS` prints `{"ok": {"port"}}` when it
serves, and ends with its input. No knowledge, no Redis.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import cast

import torch
import uvicorn
from redis.asyncio import Redis

from engine.generation.local import BatchLimits, LocalGenerator
from engine.generation.model import Precision, load_model
from engine.log import configure
from engine.search.knowledge import KnowledgeBase
from engine.server import create_app
from engine.service import EngineService

# Enough that no client waits for room in the cache.
_CACHE_BYTES = 2 * 2**30


class NoKnowledge(KnowledgeBase):
    """An empty index that nobody refreshes, so that no Redis is asked."""

    def __init__(self) -> None:
        super().__init__(Redis(), None)

    async def keep_fresh(self, interval: float = 0.5) -> None:
        """There is nothing to watch."""
        await asyncio.Event().wait()


def build(directory: str, device: str, precision: str, clients: int) -> EngineService:
    """The service as `frontdesk engine` has it, around the model."""
    loaded = load_model(directory, torch.device(device), cast(Precision, precision))
    limits = BatchLimits(max_running=clients, max_waiting=clients, cache_bytes=_CACHE_BYTES)
    return EngineService(
        LocalGenerator(loaded, limits),
        NoKnowledge(),
        persona="a benchmark",
        hand_over_below=0.0,
        max_answer_tokens=64,
    )


async def serve(service: EngineService, tell: Callable[[int], object], wait: Callable[[], object]) -> None:
    """Serve on a free port of loopback, which `tell` is told, until `wait` returns in its thread."""
    app = create_app(service, key=None)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with config.bind_socket() as socket:
        task = asyncio.create_task(server.serve(sockets=[socket]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        tell(socket.getsockname()[1])
        await asyncio.to_thread(wait)
        server.should_exit = True
        await task


def _tell(port: int) -> None:
    print(json.dumps({"ok": {"port": port}}), flush=True)


if __name__ == "__main__":
    configure("warning")
    directory, device, precision, clients = sys.argv[1:]
    asyncio.run(serve(build(directory, device, precision, int(clients)), _tell, sys.stdin.read))
