"""What must be found again later: an append-only record of events that somebody may have to answer for."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from bots import keys


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, at a Unix time; `details` hold no text of customers."""

    what: str
    at: float
    details: dict[str, Any]


class Audit:
    """Note, read, purge."""

    def __init__(self, redis: Redis, retention_days: int) -> None:
        self._redis: Any = redis
        self._retention = retention_days * 24 * 3600

    async def note(self, what: str, **details: Any) -> None:
        """Keep an event."""
        await self._redis.xadd(keys.AUDIT, {"what": what, "d": json.dumps(details)})

    async def events(self, count: int = 1000) -> list[Event]:
        """The newest events, oldest first."""
        found = await self._redis.xrevrange(keys.AUDIT, count=count)
        return [
            Event(fields[b"what"].decode(), int(entry_id.split(b"-")[0]) / 1000, json.loads(fields[b"d"]))
            for entry_id, fields in reversed(found)
        ]

    async def purge(self) -> int:
        """Drop what is older than the retention time; return how many."""
        oldest = int((time.time() - self._retention) * 1000)
        return int(await self._redis.xtrim(keys.AUDIT, minid=oldest, approximate=False))
