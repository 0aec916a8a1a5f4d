"""Where a sequence's tokens go: what the generation thread calls, and the way to an asyncio reader."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from engine.generation import Ended, TokenScore
from engine.generation.detokeniser import Detokeniser
from engine.types import FinishReason, TokenLogprob, Usage


class Writer(Protocol):
    """Called in the generation thread."""

    def write(self, token_id: int, score: TokenScore | None) -> bool:
        """Take the next token; True when the text is complete and nothing more is wanted."""
        ...

    def end(self, reason: FinishReason, usage: Usage) -> None:
        """There are no more tokens."""
        ...

    def fail(self, error: Exception) -> None:
        """The generation broke off."""
        ...


Item = str | Ended | Exception
Queue = asyncio.Queue[Item]


# So many readers are a crowd, which hears from us only this often, in seconds: about three tokens at a time.
_CROWD, _PACE_SECONDS = 8, 0.08


class Post:
    """Carries items from the generation thread to event loops: one wake-up for all readers of a loop.

    A wake-up is a system call and a switch of threads, and each piece of text becomes an event on somebody's
    connection: for many readers at a time, token by token costs a tenth of the machine. So a crowd gets its
    pieces joined, but for the first and the last of each reader.
    """

    def __init__(self) -> None:
        self._letters: dict[asyncio.AbstractEventLoop, dict[Queue, list[Item]]] = {}
        self._is_urgent = False
        self._sent = 0.0

    def put(self, loop: asyncio.AbstractEventLoop, queue: Queue, item: Item, *, is_urgent: bool) -> None:
        """Send the item along, with the next `send` if it is urgent or there is no crowd."""
        items = self._letters.setdefault(loop, {}).setdefault(queue, [])
        if isinstance(item, str) and items and isinstance(items[-1], str):
            items[-1] += item
        else:
            items.append(item)
        self._is_urgent |= is_urgent

    def send(self) -> None:
        """Hand over what is due."""
        now = time.monotonic()
        readers = sum(map(len, self._letters.values()))
        if readers >= _CROWD and not self._is_urgent and now - self._sent < _PACE_SECONDS:
            return
        letters, self._letters, self._is_urgent, self._sent = self._letters, {}, False, now
        for loop, items in letters.items():
            try:
                loop.call_soon_threadsafe(_deliver, items)
            except RuntimeError:  # the event loop is closed: nobody reads any more
                continue


def _deliver(letters: dict[Queue, list[Item]]) -> None:
    for queue, items in letters.items():
        for item in items:
            queue.put_nowait(item)


class TextWriter:
    """Turns tokens into pieces of text for one reader."""

    def __init__(self, detokeniser: Detokeniser, post: Post) -> None:
        """For a reader on the running event loop, which takes the items from `items`."""
        self.items: Queue = asyncio.Queue()
        self._detokeniser, self._post = detokeniser, post
        self._loop = asyncio.get_running_loop()
        self._logprobs: list[TokenLogprob] = []
        self._has_begun = False

    def write(self, token_id: int, score: TokenScore | None) -> bool:
        """See `Writer.write`."""
        if score is not None:
            self._logprobs.append(self._detokeniser.describe(token_id, score))
        if text := self._detokeniser.feed(token_id):
            self._put(text, is_urgent=not self._has_begun)
            self._has_begun = True
        return self._detokeniser.is_stopped

    def end(self, reason: FinishReason, usage: Usage) -> None:
        """See `Writer.end`."""
        if rest := self._detokeniser.close():
            self._put(rest)
        self._put(Ended(reason, usage, tuple(self._logprobs)), is_urgent=True)

    def fail(self, error: Exception) -> None:
        """See `Writer.fail`."""
        self._put(error, is_urgent=True)

    def _put(self, item: Item, *, is_urgent: bool = False) -> None:
        self._post.put(self._loop, self.items, item, is_urgent=is_urgent)
