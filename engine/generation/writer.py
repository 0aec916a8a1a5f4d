"""Where a sequence's tokens go: what the generation thread calls, and the way to an asyncio reader."""

from __future__ import annotations

import asyncio
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


class Post:
    """Carries items from the generation thread to event loops: one wake-up a step, however many readers.

    A wake-up is a system call and a switch of threads; one for each token would cost more than sampling it.
    """

    def __init__(self) -> None:
        self._letters: dict[asyncio.AbstractEventLoop, list[tuple[Queue, Item]]] = {}

    def put(self, loop: asyncio.AbstractEventLoop, queue: Queue, item: Item) -> None:
        """Send the item along with the next `send`."""
        self._letters.setdefault(loop, []).append((queue, item))

    def send(self) -> None:
        """Hand everything over."""
        letters, self._letters = self._letters, {}
        for loop, items in letters.items():
            try:
                loop.call_soon_threadsafe(_deliver, items)
            except RuntimeError:  # the event loop is closed: nobody reads any more
                continue


def _deliver(items: list[tuple[Queue, Item]]) -> None:
    for queue, item in items:
        queue.put_nowait(item)


class TextWriter:
    """Turns tokens into pieces of text for one reader."""

    def __init__(self, detokeniser: Detokeniser, post: Post) -> None:
        """For a reader on the running event loop, which takes the items from `items`."""
        self.items: Queue = asyncio.Queue()
        self._detokeniser, self._post = detokeniser, post
        self._loop = asyncio.get_running_loop()
        self._logprobs: list[TokenLogprob] = []

    def write(self, token_id: int, score: TokenScore | None) -> bool:
        """See `Writer.write`."""
        if score is not None:
            self._logprobs.append(self._detokeniser.describe(token_id, score))
        if text := self._detokeniser.feed(token_id):
            self._put(text)
        return self._detokeniser.is_stopped

    def end(self, reason: FinishReason, usage: Usage) -> None:
        """See `Writer.end`."""
        if rest := self._detokeniser.close():
            self._put(rest)
        self._put(Ended(reason, usage, tuple(self._logprobs)))

    def fail(self, error: Exception) -> None:
        """See `Writer.fail`."""
        self._put(error)

    def _put(self, item: Item) -> None:
        self._post.put(self._loop, self.items, item)
