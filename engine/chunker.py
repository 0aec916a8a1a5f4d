"""Sliding token windows over a text, and fitting a conversation into a model's context.

Knows tokenizers and numbers; knows nothing of models, chat platforms or storage. Fitting chooses from
what it is given and changes none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.errors import ContextTooLong
from engine.types import ChatTurn


@dataclass(frozen=True, slots=True)
class TokenWindow:
    """`text[start:end]` and its tokens; offsets count characters."""

    start: int
    end: int
    token_ids: tuple[int, ...]


def windows(text: str, tokenizer: Any, size: int, overlap: int = 0) -> Iterator[TokenWindow]:
    """Slide windows of at most `size` tokens over `text`, each sharing about `overlap` with the last.

    The text is encoded once. Windows begin and end at whole characters, so the overlap may be a few
    tokens more or less than asked; together they cover every character of the text.

    Parameters
      tokenizer: a `tokenizers.Tokenizer` or a fast tokenizer of transformers
      size: tokens in a window, more than `overlap`
      overlap: tokens that neighbours share, 0 or more

    Raises `ValueError` for a size or overlap out of range, or when one character alone is more than
    `size` tokens.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be at least 0 and less than size, not {overlap} of {size}")
    if not text:
        return
    token_ids, spans = _encode(text, tokenizer)
    borders = _borders(spans)
    if len(borders) < 2:
        yield TokenWindow(0, len(text), tuple(token_ids))
        return
    first = 0
    while True:
        last = first + 1
        while last + 1 < len(borders) and borders[last + 1] - borders[first] <= size:
            last += 1
        if borders[last] - borders[first] > size:
            raise ValueError(f"one character needs more than {size} tokens: choose a larger size")
        is_end = last == len(borders) - 1
        yield TokenWindow(
            start=spans[borders[first]][0] if first else 0,
            end=len(text) if is_end else spans[borders[last]][0],
            token_ids=tuple(token_ids[borders[first] : borders[last]]),
        )
        if is_end:
            return
        following = last
        while following - 1 > first and borders[last] - borders[following - 1] <= overlap:
            following -= 1
        # Each window must reach further than the last, whatever the overlap and the next character's size.
        while following < last and borders[last + 1] - borders[following] > size:
            following += 1
        first = following


def _encode(text: str, tokenizer: Any) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids and their character spans, without special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    encoding = backend.encode(text, add_special_tokens=False)
    return encoding.ids, encoding.offsets


def _borders(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Token indices at which a window may begin: where a new character begins, and the end.

    A byte-level token may be a part of a character (an emoji is several); its span is then the whole
    character's, so a token that starts before its predecessor's end is no border.
    """
    borders, reached = [], -1
    for index, (start, end) in enumerate(spans):
        if start >= reached:
            borders.append(index)
        reached = max(reached, end)
    return [*borders, len(spans)]


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
