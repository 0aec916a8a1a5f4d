"""An embedder that reads no text twice: for many searches over the same texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.search.embedder import Embedder

Made = TypeVar("Made")


class KnownTexts(Embedder):
    """Stands in front of an embedder and remembers all that it made, without bound."""

    def __init__(self, embedder: Embedder, vectors: dict[str, NDArray[np.float32]] | None = None) -> None:
        """Loads nothing.

        Parameters
          vectors: of texts, where they are at hand already
        """
        self.name = embedder.name
        self._embedder = embedder
        self._vectors = vectors or {}
        self._words: dict[str, NDArray[np.float16]] = {}
        self._pieces: dict[str, list[int]] = {}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `embed`."""
        return self.embed(texts)

    def embed(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """As `Embedder.embed`."""
        found = _remembered(texts, self._vectors, lambda missing: self._embedder.embed(missing, batch_size))
        return np.stack(found) if found else np.zeros((0, 0), np.float32)

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """As `Embedder.spans`, asked each time."""
        return self._embedder.spans(texts)

    def words(self, texts: Sequence[str]) -> list[NDArray[np.float16]]:
        """As `Embedder.words`."""
        return _remembered(texts, self._words, self._embedder.words)

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """As `Embedder.pieces`."""
        return _remembered(texts, self._pieces, self._embedder.pieces)


def _remembered(
    texts: Sequence[str], made: dict[str, Made], make: Callable[[Sequence[str]], Iterable[Made]]
) -> list[Made]:
    """What was made of each text, making what is missing."""
    if missing := [text for text in dict.fromkeys(texts) if text not in made]:
        made.update(zip(missing, make(missing), strict=True))
    return [made[text] for text in texts]
