"""Fitting a conversation into a model's context. Chooses from what it is given and changes none of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.errors import ContextTooLong
from engine.types import ChatTurn


class Renderer(Protocol):
    """Counts the tokens of a prompt made of these turns, templates included."""

    def __call__(self, turns: Sequence[ChatTurn]) -> int: ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """The turns that go to the model and what was left out."""

    turns: tuple[ChatTurn, ...]
    passages_used: int
    turns_used: int
    turns_left_out: int
    tokens: int


def fit(
    *,
    system: ChatTurn | None,
    passages: Sequence[str],
    history: Sequence[ChatTurn],
    message: str,
    ask: Callable[[Sequence[str], str], ChatTurn],
    count: Renderer,
    budget: int,
) -> Fitted:
    """Fit a conversation into `budget` tokens: system prompt, history, passages, message, in that order.

    The system prompt and the message always go in whole. Then come passages, best first, then turns,
    newest first and whole; a question whose answer fell out goes too, so that roles keep alternating.

    Parameters
      passages: best first
      history: oldest first, the message not among them
      ask: makes the last turn out of the passages that fitted and the message
      count: tokens of a list of turns, template included

    Raises `ContextTooLong` when system prompt and message alone are over the budget.
    """
    head = [system] if system else []
    bare = count([*head, ask((), message)])
    if bare > budget:
        own = count([ChatTurn("user", message)])
        raise ContextTooLong(tokens=own, limit=max(0, budget - (bare - own)))
    used = len(passages)
    while used and count([*head, ask(passages[:used], message)]) > budget:
        used -= 1
    last = ask(passages[:used], message)
    kept: list[ChatTurn] = []
    tokens = count([*head, last])
    for position in range(len(history) - 1, -1, -1):
        candidate = [history[position], *kept]
        grown = count([*head, *candidate, last])
        if grown > budget:
            break
        kept, tokens = candidate, grown
    while kept and kept[0].role == "assistant":
        kept = kept[1:]
        tokens = count([*head, *kept, last])
    return Fitted(
        turns=(*head, *kept, last),
        passages_used=used,
        turns_used=len(kept),
        turns_left_out=len(history) - len(kept),
        tokens=tokens,
    )
