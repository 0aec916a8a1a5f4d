"""Vectors kept in a folder between two runs of a benchmark, for embedding takes most of its time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.known_texts import KnownTexts
from engine.search.embedder import Embedder


class CachedEmbedder(KnownTexts):
    """Remembers the vectors of all texts, and keeps those in one file."""

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        name = hashlib.sha256(embedder.name.encode()).hexdigest()[:16]
        self._file = folder / f"{name}.npz"
        super().__init__(embedder)
        self._stored = self._load()

    def embed(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """As `Embedder.embed`."""
        for text in texts:
            if text not in self._vectors and (vector := self._stored.get(_key(text))) is not None:
                self._vectors[text] = vector
        return super().embed(texts, batch_size)

    def save(self) -> None:
        """Write what is known, in place of what was."""
        kept = self._stored | {_key(text): vector for text, vector in self._vectors.items()}
        if not kept:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        written = self._file.with_suffix(".new.npz")
        np.savez(written, keys=np.array(list(kept)), vectors=np.stack(list(kept.values())))
        written.replace(self._file)

    def _load(self) -> dict[str, NDArray[np.float32]]:
        if not self._file.is_file():
            return {}
        with np.load(self._file, allow_pickle=False) as stored:
            return dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
