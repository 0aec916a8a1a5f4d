"""Sliding token windows over a text.

Knows tokenizers and numbers; knows nothing of models, chat platforms or storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


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
