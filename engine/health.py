"""How the engine is: numbers for Prometheus, and whether its model still writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from engine.errors import EngineError
from engine.generation.local import LocalGenerator
from engine.generation.scheduler import Scheduler
from engine.log import logger
from engine.service import EngineService
from engine.types import ChatTurn, Sampling

log = logger("engine.health")

# /ready generates a token itself when none was generated for this long.
_IDLE_SECONDS = 30


class Metrics:
    """What Prometheus reads, with vLLM's meanings. One registry an application."""

    def __init__(self, service: EngineService) -> None:
        self.registry = CollectorRegistry()
        running = Gauge("frontdesk_num_requests_running", "Sequences in the batch", registry=self.registry)
        waiting = Gauge("frontdesk_num_requests_waiting", "Sequences waiting", registry=self.registry)
        if isinstance(service.generator, LocalGenerator):
            loop = service.generator.loop
            running.set_function(lambda: loop.running)
            waiting.set_function(lambda: loop.waiting)
            self._watch_cache(loop.scheduler)
        passages = Gauge("frontdesk_knowledge_passages", "Passages in the index", registry=self.registry)
        passages.set_function(lambda: len(service.knowledge.index.passages))
        self.decisions = Counter(
            "frontdesk_answers", "Finished answers by decision", ["decision"], registry=self.registry
        )
        self.tokens = Counter("frontdesk_generation_tokens", "Generated tokens", registry=self.registry)
        self.first_text = Histogram(
            "frontdesk_time_to_first_token_seconds",
            "From the request to its first visible text",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )

    def _watch_cache(self, scheduler: Scheduler) -> None:
        def gauge(name: str, meaning: str, read: Callable[[], float]) -> None:
            Gauge(f"frontdesk_{name}", meaning, registry=self.registry).set_function(read)

        pool = scheduler.pool
        gauge("kv_cache_usage_perc", "Used part of the cache", lambda: pool.num_used / pool.num_blocks)
        gauge("prefix_cache_queries", "Prompt tokens looked up in the cache", lambda: pool.num_queried_tokens)
        gauge("prefix_cache_hits", "Of these, found", lambda: pool.num_hit_tokens)
        gauge("num_preemptions", "Answers put aside for want of cache", lambda: scheduler.num_preemptions)


class Readiness:
    """Whether text came out lately; asks for a token itself when it is long ago."""

    def __init__(self, service: EngineService) -> None:
        self._service = service
        self._probed = float("-inf")
        self._lock = asyncio.Lock()

    async def check(self) -> bool:
        """True when the model wrote within the last half minute, if need be for a probe."""
        async with self._lock:
            if not self._wrote_lately():
                await self._probe()
            return self._service.generator.is_alive and self._wrote_lately()

    def _wrote_lately(self) -> bool:
        last = max(self._probed, self._service.generator.last_written)
        return time.monotonic() - last <= _IDLE_SECONDS

    async def _probe(self) -> None:
        probe = [ChatTurn("user", "ready?")]
        sampling = Sampling(max_tokens=1)
        try:
            async with asyncio.timeout(10):
                pieces = self._service.generator.generate(probe, sampling)
                async with aclosing(pieces):
                    async for _ in pieces:
                        self._probed = time.monotonic()
        except (EngineError, TimeoutError):
            log.warning("the readiness probe got no token; /ready says no")
