"""The running batch: one forward pass a step for every running sequence.

Rows have different lengths, so the key/value cache is padded on the left and masked; a sequence joins
by its own prefill and leaves by dropping its row.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

from engine.generation.model import LoadedModel
from engine.generation.sequence import Sequence


class Batch:
    """Cache `[rows, heads, length, width]` a layer, mask `[rows, length]` int64, and who owns each row."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self.sequences: list[Sequence] = []
        self._cache: DynamicCache | None = None
        self._mask = torch.empty(0, 0, dtype=torch.long, device=loaded.device)

    def prefill(self, sequence: Sequence) -> torch.Tensor:
        """Compute the prompt, take the sequence in; return the logits of its next token, `[vocab]`."""
        prompt = torch.tensor([sequence.prompt_ids], device=self._loaded.device)  # [1, prompt] int64
        cache = DynamicCache()
        mask = torch.ones_like(prompt)
        logits = self._loaded.model(
            input_ids=prompt, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1
        ).logits
        if self._cache is None or not self.sequences:
            self._cache, self._mask = cache, mask
        else:
            self._join(cache, mask)
        self.sequences.append(sequence)
        result: torch.Tensor = logits[0, -1]
        return result

    def step(self) -> torch.Tensor:
        """Compute the newest token of every row; return the logits of the next, `[rows, vocab]`."""
        newest = torch.tensor([[s.token_ids[-1]] for s in self.sequences], device=self._loaded.device)
        positions = self._mask.sum(1, keepdim=True)  # [rows, 1]: tokens of the row so far
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        logits = self._loaded.model(
            input_ids=newest,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        result: torch.Tensor = logits[:, -1]
        return result

    def drop(self, gone: set[Sequence]) -> None:
        """Take these sequences out, and with them the padding that only they needed."""
        if not gone:
            return
        keep = [row for row, sequence in enumerate(self.sequences) if sequence not in gone]
        self.sequences = [self.sequences[row] for row in keep]
        if not keep:
            self.clear()
            return
        assert self._cache is not None
        rows = torch.tensor(keep, device=self._loaded.device)
        self._mask = self._mask[rows]
        padding = int(self._mask.shape[1] - self._mask.sum(1).max())
        self._mask = self._mask[:, padding:]
        for layer in _layers(self._cache):
            layer.keys = layer.keys[rows, :, padding:]
            layer.values = layer.values[rows, :, padding:]

    def clear(self) -> None:
        """Forget every row."""
        self.sequences, self._cache = [], None

    def _join(self, cache: DynamicCache, mask: torch.Tensor) -> None:
        assert self._cache is not None
        longest = max(self._mask.shape[1], mask.shape[1])
        self._mask = torch.cat([_pad_left(m, longest, dim=1) for m in (self._mask, mask)])
        for ours, theirs in zip(_layers(self._cache), _layers(cache), strict=True):
            ours.keys = torch.cat([_pad_left(k, longest, dim=2) for k in (ours.keys, theirs.keys)])
            ours.values = torch.cat([_pad_left(v, longest, dim=2) for v in (ours.values, theirs.values)])


def _layers(cache: DynamicCache) -> list[Any]:
    """The layers, each with `keys` and `values` of `[rows, heads, length, width]`."""
    return list(cache.layers)


def _pad_left(tensor: torch.Tensor, length: int, dim: int) -> torch.Tensor:
    """Zeros before the tensor's own content, so that dimension `dim` is `length` long."""
    missing = length - tensor.shape[dim]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor.new_zeros(shape), tensor], dim)
