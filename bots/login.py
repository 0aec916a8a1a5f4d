"""Logging in when it is needed: a platform that is down at the start must not stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bots.errors import PlatformBusy, WrongToken

# For the next try with a token that a platform refuses: somebody has to act first.
WRONG_TOKEN_SECONDS = 30.0


class Login:
    """One sender's login: `now` at the start, `ensure` before each use, again until it worked once."""

    def __init__(self, log_in: Callable[[], Awaitable[object]]) -> None:
        self._log_in = log_in
        self._is_done, self._lock = False, asyncio.Lock()

    async def now(self) -> None:
        """Log in. Raises `WrongToken`, and `PlatformBusy` when the platform cannot be asked."""
        await self._log_in()
        self._is_done = True

    async def ensure(self) -> None:
        """Log in unless that is done. Raises `PlatformBusy`: what is to be said waits."""
        async with self._lock:
            if not self._is_done:
                try:
                    await self.now()
                except WrongToken as error:
                    raise PlatformBusy(str(error), retry_after=WRONG_TOKEN_SECONDS) from error
