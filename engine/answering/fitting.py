"""Fitting a conversation into a model's context. Chooses from what it is given and changes none of it.

What does not fit is chosen, never cut: the newest turns whole, then the older ones and the passages that
matter for this question, then a summary of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from engine.errors import ContextTooLong
from engine.types import ChatTurn

# The newest turns may take this share of the room before anything older is looked at.
_RECENT_SHARE = 0.5
# An exchange beside one that matters counts as this share of it: an answer often needs what led to it.
_NEIGHBOUR_SHARE = 0.5
# An older exchange goes in when it matters at least this much for the question, in [0, 1].
_MATTERS = 0.2


class Renderer(Protocol):
    """Counts the tokens of a prompt made of these turns, templates included."""

    def __call__(self, turns: Sequence[ChatTurn]) -> int: ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """The turns that go to the model, and which of the material they are."""

    turns: tuple[ChatTurn, ...]
    passages: tuple[int, ...]
    """Rows of the passages that are in it, best first."""
    history: tuple[int, ...]
    """Rows of the history that are in it, oldest first."""
    turns_left_out: int
    is_summary_used: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Material:
    """What may go into the context: system prompt, history, passages and message, in that order.

    Parameters
      passages: best first
      history: oldest first, the message not among them
      ask: makes the last turn out of the passages that fitted and the message
      matters: how much each turn of `history` matters for the message, in [0, 1]; asked only when the
        history does not fit
      summary: the system turn with a summary of the conversation in it, for when turns are left out
    """

    system: ChatTurn | None
    message: str
    ask: Callable[[Sequence[str], str], ChatTurn]
    passages: Sequence[str] = ()
    history: Sequence[ChatTurn] = ()
    matters: Callable[[], Sequence[float]] | None = None
    summary: ChatTurn | None = None


def fit(material: Material, *, count: Renderer, budget: int) -> Fitted:
    """Fit a conversation into `budget` tokens.

    The system prompt and the message always go in whole. Then come the best passage, the newest turns,
    the other passages, older turns that matter with their neighbours, the summary if turns are left out,
    and more of the newest turns while there is room. Turns go in as exchanges, a question with its
    answer, so that roles keep alternating.

    Raises `ContextTooLong` when system prompt and message alone are over the budget.
    """
    return _Fitting(material, count, budget).run()


@dataclass(frozen=True, slots=True)
class _Chosen:
    passages: tuple[int, ...] = ()
    exchanges: frozenset[int] = frozenset()
    is_summary_used: bool = False


class _Fitting:
    """One run: grows what is chosen, step by step, as long as it fits."""

    def __init__(self, material: Material, count: Renderer, budget: int) -> None:
        self._material, self._count, self._budget = material, count, budget
        self._exchanges = _exchanges(material.history)
        self._chosen = _Chosen()
        self._bare = self._tokens(self._chosen)

    def run(self) -> Fitted:
        if self._bare > self._budget:
            own = self._count([ChatTurn("user", self._material.message)])
            raise ContextTooLong(tokens=own, limit=max(0, self._budget - (self._bare - own)))
        everything = _Chosen(tuple(range(len(self._material.passages))), frozenset(self._every_exchange()))
        if not self._take(everything):
            self._take_best_passage()
            self._take_newest(self._bare + (self._budget - self._bare) * _RECENT_SHARE)
            self._take_other_passages()
            self._take_what_matters()
            self._take_summary()
            self._take_newest(self._budget)
        return self._fitted()

    def _every_exchange(self) -> range:
        return range(len(self._exchanges))

    def _take_best_passage(self) -> None:
        if self._material.passages:
            self._take(replace(self._chosen, passages=(0,)))

    def _take_newest(self, limit: float) -> None:
        for row in reversed(self._every_exchange()):
            if row not in self._chosen.exchanges and not self._take_exchange(row, limit):
                return

    def _take_other_passages(self) -> None:
        for row in range(1, len(self._material.passages)):
            if not self._take(replace(self._chosen, passages=(*self._chosen.passages, row))):
                return

    def _take_what_matters(self) -> None:
        if self._material.matters is None or len(self._chosen.exchanges) == len(self._exchanges):
            return
        for row, weight in self._by_weight(self._material.matters()):
            if weight >= _MATTERS and row not in self._chosen.exchanges:
                self._take_exchange(row, self._budget)

    def _by_weight(self, matters: Sequence[float]) -> list[tuple[int, float]]:
        """Exchanges, those that matter most first, each lifted by its neighbours."""
        own = [max((matters[turn] for turn in turns), default=0.0) for turns in self._exchanges]
        beside = [
            max(own[max(0, row - 1) : row] + own[row + 1 : row + 2], default=0.0) for row in range(len(own))
        ]
        weights = [max(mine, _NEIGHBOUR_SHARE * other) for mine, other in zip(own, beside, strict=True)]
        return sorted(enumerate(weights), key=lambda item: (-item[1], -item[0]))

    def _take_summary(self) -> None:
        if self._material.summary is not None and len(self._chosen.exchanges) < len(self._exchanges):
            self._take(replace(self._chosen, is_summary_used=True))

    def _take_exchange(self, row: int, limit: float) -> bool:
        return self._take(replace(self._chosen, exchanges=self._chosen.exchanges | {row}), limit)

    def _take(self, chosen: _Chosen, limit: float | None = None) -> bool:
        """Choose this if it fits into `limit` tokens, by default the whole budget."""
        if self._tokens(chosen) > (self._budget if limit is None else limit):
            return False
        self._chosen = chosen
        return True

    def _tokens(self, chosen: _Chosen) -> int:
        return self._count(list(self._turns(chosen)))

    def _history(self, chosen: _Chosen) -> list[int]:
        return [turn for row in sorted(chosen.exchanges) for turn in self._exchanges[row]]

    def _turns(self, chosen: _Chosen) -> Iterator[ChatTurn]:
        material = self._material
        head = material.summary if chosen.is_summary_used else material.system
        if head is not None:
            yield head
        for row in self._history(chosen):
            yield material.history[row]
        yield material.ask([material.passages[row] for row in chosen.passages], material.message)

    def _fitted(self) -> Fitted:
        turns, history = tuple(self._turns(self._chosen)), tuple(self._history(self._chosen))
        return Fitted(
            turns=turns,
            passages=self._chosen.passages,
            history=history,
            turns_left_out=len(self._material.history) - len(history),
            is_summary_used=self._chosen.is_summary_used,
            tokens=self._count(list(turns)),
        )


def _exchanges(history: Sequence[ChatTurn]) -> list[list[int]]:
    """Rows of the history by exchange: each begins with the customer's turn.

    An answer whose question is not there belongs to nothing and is left out.
    """
    found: list[list[int]] = []
    for row, turn in enumerate(history):
        if turn.role == "user":
            found.append([row])
        elif found:
            found[-1].append(row)
    return found
