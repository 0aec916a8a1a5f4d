"""The sentences of one answer while it is generated: each released once the passages support it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from engine.prompt import repeats_prompt
from engine.search.index import Hit
from engine.support.support import SentenceCutter, Support, Supported, has_substance
from engine.types import Citation


class CheckedAnswer:
    """Feed it text, get whole sentences; ask for each of them whether it may be shown.

    What comes first must also be about the question: a true sentence may answer another one.
    """

    def __init__(self, support: Support, hits: Sequence[Hit], is_relevant: Callable[[str], bool]) -> None:
        self._support, self._hits, self._is_relevant = support, hits, is_relevant
        self._cutter = SentenceCutter()
        self._opening = ""
        self._spans: dict[int, list[tuple[int, int]]] = {}
        self.is_exact_only = False
        """Of some sentence only numbers, names and links could be checked: it needs a quotation."""

    @property
    def is_empty(self) -> bool:
        """Nothing of substance was released."""
        return not self._spans

    @property
    def first_row(self) -> int:
        """The best of the passages that support something, else the best of all."""
        return min(self._spans, default=0)

    def feed(self, text: str) -> list[str]:
        """The sentences that are complete now."""
        return list(self._cutter.feed(text))

    def rest(self) -> list[str]:
        """The last sentence, when the text ended of itself."""
        return [self._cutter.close()]

    async def release(self, sentence: str) -> str:
        """The sentence, and what was held back before it; empty when it may not be shown."""
        found = await asyncio.to_thread(self._support.check, sentence)
        # Across languages hardly anything is checked: what repeats the prompt would pass.
        if found is None or (found.is_exact_only and repeats_prompt(sentence)):
            return ""
        if self.is_empty:
            if not has_substance(sentence):
                self._opening += sentence
                return ""
            if not await asyncio.to_thread(self._is_relevant, sentence):
                return ""
            sentence = (self._opening + sentence).lstrip()
        self._note(found)
        return sentence

    def _note(self, found: Supported) -> None:
        self._spans.setdefault(found.row, []).append((found.start, found.end))
        self.is_exact_only |= found.is_exact_only

    def citations(self) -> tuple[Citation, ...]:
        """For each passage that supports something, the stretch that does, exactly as it stands there."""
        return tuple(
            self._hits[row].citation(min(start for start, _ in spans), max(end for _, end in spans))
            for row, spans in sorted(self._spans.items())
        )
