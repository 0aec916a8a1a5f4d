"""Whose turn it is: fair between conversations, first come first served within one."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from engine.generation.sequence import Sequence


@dataclass(slots=True)
class _Conversation:
    served: int
    num_active: int = 0
    waiting: deque[Sequence] = field(default_factory=deque)


class FairQueue:
    """Waiting sequences, those of the least served conversation first: virtual token counters.

    After Sheng et al. 2024, "Fairness in Serving Large Language Models": each conversation has a counter of
    served tokens, a new one starts at the smallest counter, so that idling saves up no claims, and counters
    go when their conversation does. Unlike there, whoever was preempted goes before whoever has not begun:
    newcomers would otherwise overtake it for as long as they keep coming. Not thread-safe.
    """

    def __init__(self) -> None:
        self._conversations: dict[Hashable, _Conversation] = {}
        self._num_waiting = 0

    def __len__(self) -> int:
        return self._num_waiting

    def push(self, sequence: Sequence) -> None:
        """Queue a new sequence behind its conversation's others."""
        conversation = self._conversations.get(_key(sequence))
        if conversation is None:
            least = min((other.served for other in self._conversations.values()), default=0)
            conversation = self._conversations[_key(sequence)] = _Conversation(least)
        conversation.num_active += 1
        conversation.waiting.append(sequence)
        self._num_waiting += 1

    def push_back(self, sequence: Sequence) -> None:
        """Queue a sequence again that was taken before, at the head of its conversation."""
        self._conversations[_key(sequence)].waiting.appendleft(sequence)
        self._num_waiting += 1

    def first(self) -> Sequence | None:
        """Who is next; it stays in the queue."""
        waiting = [other for other in self._conversations.values() if other.waiting]
        if not waiting:
            return None
        # Conversations with equal counters come in the order in which they became active.
        return min(waiting, key=lambda other: (not other.waiting[0].num_preemptions, other.served)).waiting[0]

    def take(self, sequence: Sequence) -> None:
        """Take a waiting sequence out. Its conversation stays known until `leave`."""
        self._conversations[_key(sequence)].waiting.remove(sequence)
        self._num_waiting -= 1

    def charge(self, sequence: Sequence, tokens: int) -> None:
        """Count weighted tokens as served to the sequence's conversation."""
        self._conversations[_key(sequence)].served += tokens

    def leave(self, sequence: Sequence) -> None:
        """Say that a sequence, not waiting any more, is over."""
        conversation = self._conversations[_key(sequence)]
        conversation.num_active -= 1
        if not conversation.num_active:
            del self._conversations[_key(sequence)]

    def all(self) -> list[Sequence]:
        """Everyone who waits, in no order of worth."""
        return [sequence for other in self._conversations.values() for sequence in other.waiting]

    @property
    def num_conversations(self) -> int:
        """Conversations with a waiting or running sequence."""
        return len(self._conversations)


def _key(sequence: Sequence) -> Hashable:
    # Those who name no conversation count as one together: else each of their requests would go before
    # everybody else's second.
    return (sequence.tenant, sequence.conversation) if sequence.conversation else ""
