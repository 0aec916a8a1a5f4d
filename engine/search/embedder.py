"""Sentence vectors: all-MiniLM-L6-v2 or another encoder, mean-pooled and normalised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cores import use_one_core
from engine.errors import ModelUnusable
from engine.log import logger
from engine.search.embedder_package import find_package, package_problem
from engine.search.remembered import Remembered

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"

_MOST_TOKENS = 256
# Texts up to this many characters are taken for questions, whose words are asked for soon.
_QUESTION_CHARACTERS = 300
_REMEMBERED_BYTES = 64 * 2**20

log = logger("engine.search.embedder")


class Embedder:
    """Texts to vectors of length 1, so that a dot product is the cosine."""

    def __init__(self, source: str, device: torch.device, name: str | None = None) -> None:
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model = AutoModel.from_pretrained(
                source, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            raise ModelUnusable(f"embedder: {source} cannot be loaded") from error
        self._model = model.to(device).eval()
        self._tokenizing = Lock()
        self._remembered = Remembered(_REMEMBERED_BYTES)
        self.name = name or source

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`[texts, width]` float32, for a few texts: on one core."""
        use_one_core()
        return self.embed(texts)

    def embed(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """`[texts, width]` float32. Texts beyond 256 tokens are cut, as this model was trained."""
        vectors: dict[int, NDArray[np.float32]] = {}
        for rows, hidden, mask in self._read(texts, batch_size):
            mean = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
            vectors.update(zip(rows, _normal(mean).cpu().numpy(), strict=True))
            for row, words in zip(rows, _words(hidden, mask), strict=True):
                if len(texts[row]) <= _QUESTION_CHARACTERS:
                    self._remembered.put(texts[row], words)
        return (
            np.stack([vectors[row] for row in range(len(texts))]) if texts else np.zeros((0, 0), np.float32)
        )

    def words(self, texts: Sequence[str]) -> list[NDArray[np.float16]]:
        """The vectors of each text's `pieces`, of length 1: `[pieces, width]` float16.

        Made for questions: those that were read lately, for their own vectors too, are remembered.
        """
        use_one_core()
        found = {text: self._remembered.get(text) for text in texts}
        missing = [text for text, words in found.items() if words is None]
        for rows, hidden, mask in self._read(missing, batch_size=32):
            for row, vectors in zip(rows, _words(hidden, mask), strict=True):
                found[missing[row]] = vectors
                self._remembered.put(missing[row], vectors)
        return [words for text in texts if (words := found[text]) is not None]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text's word pieces, without the two tokens that frame it."""
        if not texts:
            return []
        return [ids[1:-1] for ids in self._encoded(texts)["input_ids"]]

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """The characters that each of the text's `pieces` stands for."""
        if not texts:
            return []
        encoded = self._encoded(texts, return_offsets_mapping=True)
        return [spans[1:-1] for spans in encoded["offset_mapping"]]

    def _encoded(self, texts: Sequence[str], **options: Any) -> Any:
        """The tokenizer keeps padding as its own state: one thread at a time may set it."""
        with self._tokenizing:
            return self._tokenizer(list(texts), truncation=True, max_length=_MOST_TOKENS, **options)

    def _read(
        self, texts: Sequence[str], batch_size: int
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Batches of rows, hidden states `[batch, tokens, width]` float32 and mask `[batch, tokens]`."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = self._encoded([texts[row] for row in rows], padding=True, return_tensors="pt")
            encoded = batch.to(self._model.device)
            with torch.inference_mode():
                yield rows, self._model(**encoded).last_hidden_state, encoded["attention_mask"]


def _normal(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def _words(hidden: torch.Tensor, mask: torch.Tensor) -> Iterator[NDArray[np.float16]]:
    """The vectors of each text's word pieces: all but the frame and the padding."""
    normal, lengths = _normal(hidden).half().cpu().numpy(), mask.sum(1).tolist()
    for vectors, length in zip(normal, lengths, strict=True):
        yield vectors[1 : length - 1].copy()


def load_embedder(name: str | None, device: torch.device) -> Embedder | None:
    """`name`, else the installed package once its weights are verified, else the hub, else none.

    Raises `ModelUnusable` when `name` was given and cannot be loaded.
    """
    if name:
        return Embedder(name, device)
    if problem := package_problem():
        log.error(problem)
    try:
        return Embedder(str(find_package() or HUB_ID), device, name=HUB_ID)
    except ModelUnusable:
        log.warning("no embedder can be loaded: search goes by words alone", tried=HUB_ID)
        return None
