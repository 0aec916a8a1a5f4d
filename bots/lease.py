"""One worker at a time: a lease in Redis with a fencing token.

The lease lives on Redis' clock, never on ours. Whoever holds it renews it while work goes on; every step
that changes state compares the token in the same script, so that a worker that was paused is refused.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bots.errors import LeaseLost

LEASE_MS = 4000
_RENEW_SECONDS = 1.0
_WANTED_MS = 2000
# How long a lease must have been free before a guest takes it from a worker that may be starting again.
_GUEST_SECONDS = 10.0

# KEYS: lease   ARGV: token, milliseconds
_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Lease:
    """A named lease; `token` is this holder's fence.

    A guest (a terminal that works for itself when nobody else does) takes a lease only once it has been
    free for a while, and gives it back when somebody who is here to stay wants it.
    """

    def __init__(self, redis: Redis, key: str, *, is_guest: bool = False) -> None:
        self._is_guest, self._wanted_key = is_guest, f"{key}:wanted"
        self._free_at = float("-inf")
        self._redis: Any = redis
        self._key = key
        self.token = secrets.token_hex(16)
        self._is_kept = asyncio.Event()
        self._renew = redis.register_script(_RENEW)
        self._release = redis.register_script(_RELEASE)

    async def acquire(self) -> None:
        """Wait until nobody else has the lease, then take it."""
        while True:
            if not self._is_guest:
                await self._redis.set(self._wanted_key, 1, px=_WANTED_MS)
            may_take = not self._is_guest or await self._may_take_as_guest()
            if may_take and await self._redis.set(self._key, self.token, nx=True, px=LEASE_MS):
                return
            await asyncio.sleep(0.2)

    async def _may_take_as_guest(self) -> bool:
        """Whether the lease was free all the time that a guest has to wait; none at the first look."""
        now = asyncio.get_running_loop().time()
        if await self.is_held() or await self._redis.exists(self._wanted_key):
            self._free_at = now + _GUEST_SECONDS
        return now >= self._free_at

    async def is_wanted(self) -> bool:
        """Whether this is a guest's lease and somebody else waits for it."""
        return self._is_guest and bool(await self._redis.exists(self._wanted_key))

    async def is_held(self) -> bool:
        """Whether anybody has it."""
        return bool(await self._redis.exists(self._key))

    def let_go(self) -> None:
        """Let `keep` return."""
        self._is_kept.clear()

    async def keep(self) -> None:
        """Renew until `let_go`. Raises `LeaseLost` when it passed to another or was not renewed in time."""
        clock = asyncio.get_running_loop()
        renewed = clock.time()
        self._is_kept.set()
        while self._is_kept.is_set():
            try:
                if not await self._renew(keys=[self._key], args=[self.token, LEASE_MS]):
                    raise LeaseLost
                renewed = clock.time()
            except RedisError as error:
                if clock.time() - renewed > LEASE_MS / 1000:
                    raise LeaseLost from error
            await asyncio.sleep(_RENEW_SECONDS)

    async def release(self) -> None:
        """Give it back, if it is still ours."""
        await self._release(keys=[self._key], args=[self.token])
