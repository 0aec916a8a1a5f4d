"""What a worker has taken and not finished: a queue for each conversation, and what happened to its messages
meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import Literal

from bots.inbox import Entry
from bots.message import Change, Message

# Every edit has the answer made again: who edits on and on is not followed for ever.
_MOST_CHANGES = 10

Verdict = Literal["stop", "delete"]


@dataclass(eq=False, slots=True)
class Work:
    """One message in hand.

    `begun` counts its attempts here; `finishing` is what its last step finishes, once that has begun; `said`
    is the answer as far as it is generated, `unsure` its parts that may have been posted when an attempt was
    interrupted or its platform did not answer.
    """

    entry: Entry
    changes: list[Entry] = field(default_factory=list)
    token: str = ""
    attempt: asyncio.Task[None] | None = None
    is_interrupted: bool = False
    finishing: list[Entry] | None = None
    begun: int = 0
    said: str = ""
    unsure: set[int] = field(default_factory=set)

    @property
    def original(self) -> Message:
        assert isinstance(self.entry.content, Message)
        return self.entry.content

    @property
    def message(self) -> Message:
        """The message as it reads now."""
        edit = self._edit
        return replace(self.original, text=edit.text) if edit else self.original

    @property
    def edit_id(self) -> str:
        """Which edit `message` shows; empty for none."""
        edits = [entry.id for entry in self.changes if _change(entry).kind == "edit"]
        return edits[-1] if edits else ""

    @property
    def verdict(self) -> Verdict | None:
        """Whether the answer is still wanted."""
        kinds = {_change(entry).kind for entry in self.changes}
        if "delete" in kinds:
            return "delete"
        return "stop" if "stop" in kinds else None

    def finish(self) -> list[Entry]:
        """The message and what happened to it, all of which is now finished: from here on it is too late."""
        self.finishing = [replace(self.entry, content=self.message), *self.changes]
        return self.finishing

    @property
    def late(self) -> list[Entry]:
        """What happened to the message when it was too late."""
        return [change for change in self.changes if change not in (self.finishing or ())]

    @property
    def _edit(self) -> Change | None:
        edits = [_change(entry) for entry in self.changes if _change(entry).kind == "edit"]
        return edits[-1] if edits else None

    def add(self, change: Entry) -> None:
        """Something happened to the message: its answer begins again, unless it is too late for that."""
        self.changes.append(change)
        if self.finishing is None:
            self.is_interrupted = True
            if self.attempt is not None:
                self.attempt.cancel()


class InHand:
    """Works in their conversations' order."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Work]] = {}
        self._counts: Counter[int] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, entry: Entry) -> str | None:
        """Put a message behind its conversation's last one; the conversation's name if it had none."""
        work = Work(entry)
        name = str(work.original.conversation)
        self._counts[entry.partition] += 1
        if name in self._queues:
            self._queues[name].append(work)
            return None
        self._queues[name] = deque([work])
        return name

    def first(self, name: str) -> Work | None:
        """The message of this conversation whose turn it is."""
        queue = self._queues.get(name)
        return queue[0] if queue else None

    def done(self, name: str, work: Work) -> None:
        """The message is finished."""
        queue = self._queues.get(name)
        if queue and queue[0] is work:
            queue.popleft()
            self._counts[work.entry.partition] -= 1
            if not queue:
                del self._queues[name]

    def count(self, partition: int) -> int:
        return self._counts[partition]

    def by_partition(self) -> dict[int, int]:
        """How many there are of each partition that has any."""
        return {partition: count for partition, count in self._counts.items() if count}

    def meant(self, entry: Entry) -> list[Work]:
        """What the change `entry` is about: of an edit, only its author's own."""
        change = _change(entry)
        return [
            work
            for work in self._queues.get(str(change.conversation), ())
            if work.entry.order < entry.order
            and (change.kind != "edit" or len(work.changes) < _MOST_CHANGES)
            and change.message_id in ("", work.original.id)
            and (change.kind != "edit" or change.author_id in ("", work.original.author.id))
        ]

    def forget(self, partition: int) -> list[str]:
        """Drop what belongs to a partition; return its conversations' names."""
        names = [name for name, queue in self._queues.items() if queue[0].entry.partition == partition]
        for name in names:
            del self._queues[name]
        del self._counts[partition]
        return names


def _change(entry: Entry) -> Change:
    assert isinstance(entry.content, Change)
    return entry.content
