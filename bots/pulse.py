"""How the connections to the platforms are, for `frontdesk status`, metrics and alarms.

Each receiving process writes its state to Redis when it changes, and now and then to show that it lives.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bots import keys
from engine.log import logger

State = Literal["connected", "reconnecting", "silent"]
"""`silent`: it looks connected, but nothing comes through."""
_REPEAT_SECONDS = 10.0
# A process that wrote nothing for so long is gone.
_GONE_SECONDS = 35.0

log = logger("bots.pulse")


@dataclass(frozen=True, slots=True)
class Connection:
    """One platform's connection, as its process saw it last."""

    platform: str
    state: State
    since: float
    """Unix time of the last change."""
    events: int
    """Received since the process started."""
    losses: int
    """How often the connection was lost since then."""
    seen: float
    """Unix time at which its process wrote this."""


class Pulse:
    """One platform's state, kept by its receiving process."""

    def __init__(self, redis: Redis, platform: str) -> None:
        self._redis: Any = redis
        self._platform = platform
        self._state: State = "reconnecting"
        self._since, self._events, self._losses = time.time(), 0, 0
        self._changed = asyncio.Event()

    def event(self) -> None:
        """Something was received."""
        self._events += 1

    def connected(self) -> None:
        """The connection stands."""
        self._change("connected")

    def lost(self, reason: str, state: State = "reconnecting") -> None:
        """The connection is gone, or as good as gone: an alarm in the log."""
        if self._state == "connected":
            self._losses += 1
            log.error(
                "the platform's connection is lost; trying again", platform=self._platform, reason=reason
            )
        self._change(state)

    def _change(self, state: State) -> None:
        if state != self._state:
            self._state, self._since = state, time.time()
            self._changed.set()

    async def keep(self) -> None:
        """Write the state until cancelled."""
        while True:
            counts = (self._since, self._events, self._losses, time.time())
            found = Connection(self._platform, self._state, *counts)
            try:
                await self._redis.hset(keys.CONNECTIONS, self._platform, json.dumps(asdict(found)))
            except RedisError as error:
                log.warning("the connection's state could not be stored", reason=str(error))
            self._changed.clear()
            try:
                async with asyncio.timeout(_REPEAT_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue


async def connections(redis: Redis) -> list[Connection]:
    """Every platform whose receiving process lives, by name."""
    client: Any = redis
    values = await client.hvals(keys.CONNECTIONS)
    found = [Connection(**json.loads(value)) for value in values]
    living = [connection for connection in found if time.time() - connection.seen < _GONE_SECONDS]
    return sorted(living, key=lambda connection: connection.platform)
