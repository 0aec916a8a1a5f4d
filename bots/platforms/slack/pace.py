"""When a method may be called: as often as Slack lets us, and never before it said.

Posts have their own measure in each channel: one a second, a few at once. Nobody waits here for longer than
a moment: a post that others are before is told to come again. Every other method has a measure a minute and
workspace; where that is used up, what need not be shown now gives way to what must be.
https://docs.slack.dev/apis/web-api/rate-limits
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from bots.errors import PlatformBusy
from bots.platforms.slack.turnstile import Standing, Turn, Turnstile

_POSTS = frozenset({"chat_postMessage", "chat_startStream", "files_completeUploadExternal"})
_POSTS_AT_ONCE, _POSTS_A_SECOND = 3, 1.0
# Whoever waits for a turn holds up other channels: longer than so many seconds it comes again instead, after
# so many at the latest.
_LONGEST_WAIT, _LONGEST_WAY_ROUND = 1.0, 15.0
# Calls a minute; Slack promises at least so many. Tier 3 for what is not named here.
_TIERS = {"chat_startStream": 20, "chat_stopStream": 20, "chat_appendStream": 100, "users_info": 100}
_TIER_3 = 50
# So many measures are kept; older ones are full again anyway.
_MOST_MEASURES = 5_000


@dataclass(slots=True)
class Measure:
    """A bucket of calls that fills again; `left` is below zero while calls wait their turn."""

    capacity: float
    a_second: float
    left: float
    at: float

    def wait(self, now: float) -> float:
        """The seconds until a call has its turn."""
        self._refill(now)
        return max(0.0, (1 - self.left) / self.a_second)

    def take(self, now: float) -> float:
        """One call: the seconds until its turn."""
        seconds = self.wait(now)
        self.left -= 1
        return seconds

    def turn(self, now: float, *, takes: bool) -> Turn:
        """One call that waits a moment at most; see `Turnstile.take`."""
        if (seconds := self.wait(now)) > _LONGEST_WAIT:
            return Turn(seconds, Standing.CROWDED)
        return Turn(self.take(now) if takes else seconds, Standing.OURS)

    def spend(self, now: float) -> None:
        """One call that waits for no turn."""
        self._refill(now)
        self.left = max(0.0, self.left - 1)

    def can_spare(self, now: float) -> bool:
        """Whether a call could be made at once."""
        self._refill(now)
        return self.left >= 1

    def _refill(self, now: float) -> None:
        self.left = min(self.capacity, self.left + (now - self.at) * self.a_second)
        self.at = now


class Pace:
    """The pace of one process; with a turnstile, posts and waits are all processes' together."""

    def __init__(
        self, turnstile: Turnstile | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._turnstile, self._clock = turnstile, clock
        self._measures: dict[tuple[str, ...], Measure] = {}
        self._held: dict[tuple[str, str, str], float] = {}

    async def wait(self, workspace: str, method: str, channel: str) -> None:
        """Wait a moment for a post's turn in its channel. Raises `PlatformBusy` while Slack wants no such
        call, and where others have the next turns.
        """
        self._check(workspace, method, channel)
        self._tier(workspace, method).spend(self._clock())
        if seconds := await self._turn(workspace, method, channel, is_post=method in _POSTS):
            await asyncio.sleep(seconds)
            self._check(workspace, method, channel)
            await self._turn(workspace, method, channel, is_post=False)

    async def expect(self, workspace: str, method: str, channel: str) -> None:
        """Raise `PlatformBusy` where a post would have to come again; takes no turn."""
        self._check(workspace, method, channel)
        await self._turn(workspace, method, channel, is_post=True, takes=False)

    async def _turn(
        self, workspace: str, method: str, channel: str, *, is_post: bool, takes: bool = True
    ) -> float:
        """Seconds until a post's turn. Raises `PlatformBusy` where it has none soon."""
        turn = await self._next(workspace, method, channel, is_post=is_post, takes=takes)
        if turn.standing is Standing.HELD:
            self._held[workspace, method, channel] = self._clock() + turn.seconds
            self._check(workspace, method, channel)
        if turn.standing is Standing.CROWDED:
            again = self._way_round(workspace, channel, turn.seconds)
            raise PlatformBusy(f"others are about to post in {channel}", retry_after=again)
        return turn.seconds

    async def _next(self, workspace: str, method: str, channel: str, *, is_post: bool, takes: bool) -> Turn:
        if self._turnstile is None:
            posts = self._posts(workspace, channel)
            return posts.turn(self._clock(), takes=takes) if is_post else Turn(0.0, Standing.OURS)
        return await self._turnstile.take(
            workspace,
            method,
            channel,
            at_once=_POSTS_AT_ONCE,
            a_second=_POSTS_A_SECOND if is_post else 0.0,
            longest=_LONGEST_WAIT,
            takes=takes,
        )

    def _way_round(self, workspace: str, channel: str, seconds: float) -> float:
        """Seconds after which to come again. Those that wait do not all come at once, but each in its turn,
        unless somebody else is quicker then.
        """
        waiting = self._measure((workspace, channel, "waiting"), 1, _POSTS_A_SECOND)
        if seconds + waiting.wait(self._clock()) > _LONGEST_WAY_ROUND:
            return _LONGEST_WAY_ROUND
        return seconds + waiting.take(self._clock())

    def can_spare(self, workspace: str, method: str, channel: str) -> bool:
        """Whether there is room for a call that nobody would miss."""
        return not self.is_held(workspace, method, channel) and self._tier(workspace, method).can_spare(
            self._clock()
        )

    def is_held(self, workspace: str, method: str, channel: str) -> bool:
        """Whether Slack wants no such call now."""
        return self._held.get((workspace, method, channel), 0.0) > self._clock()

    async def hold(self, workspace: str, method: str, channel: str, seconds: float) -> None:
        """Slack said how long to wait: in this channel, with this method, and nowhere else."""
        now = self._clock()
        self._held = {key: until for key, until in self._held.items() if until > now}
        self._held[workspace, method, channel] = now + seconds
        if self._turnstile is not None:
            await self._turnstile.hold(workspace, method, channel, seconds)

    def _check(self, workspace: str, method: str, channel: str) -> None:
        wait = self._held.get((workspace, method, channel), 0.0) - self._clock()
        if wait > 0:
            raise PlatformBusy(f"Slack wants no {method} in {channel} yet", retry_after=wait)

    def _posts(self, workspace: str, channel: str) -> Measure:
        return self._measure((workspace, channel), _POSTS_AT_ONCE, _POSTS_A_SECOND)

    def _tier(self, workspace: str, method: str) -> Measure:
        calls = _TIERS.get(method, _TIER_3)
        return self._measure((workspace, "", method), calls, calls / 60)

    def _measure(self, key: tuple[str, ...], capacity: float, a_second: float) -> Measure:
        if len(self._measures) >= _MOST_MEASURES and key not in self._measures:
            self._measures.pop(next(iter(self._measures)))
        return self._measures.setdefault(key, Measure(capacity, a_second, capacity, self._clock()))
