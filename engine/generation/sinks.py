"""Attention sinks: what lets a conversation outgrow the model's context while it generates.

Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks": keep the first tokens and the
newest window, drop what lies between, and number positions inside the cache. Rotary embeddings know only the
distance of two positions, so instead of renumbering the whole window the few sinks are turned forward by as
many positions as were dropped; the window's keys, and everything computed later, keep their own.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.generation.cache import KVCache
from engine.generation.plan import Shift

# Architectures whose keys are rotated in halves over the whole head, one frequency table for all layers.
_ROTATED_IN_HALVES = frozenset({"gemma", "llama", "mistral", "qwen2", "qwen3"})
# Scalings whose frequencies do not depend on how long the text is.
_FIXED_FREQUENCIES = frozenset({"default", "linear", "llama3", "yarn"})


class SinkTurner:
    """Copies sink blocks and turns their keys forward."""

    def __init__(self, frequencies: torch.Tensor, cache: KVCache) -> None:
        """`frequencies` in radians a position, `[width / 2]` float32."""
        self._frequencies, self._cache = frequencies, cache

    @classmethod
    def of(cls, model: Any, cache: KVCache) -> SinkTurner | None:
        """For a model whose keys can be turned; None for others: learned positions, unusual rotations."""
        config = model.config.get_text_config()
        rope = getattr(config, "rope_parameters", None) or {}
        tables = [buffer for name, buffer in model.named_buffers() if name.endswith("rotary_emb.inv_freq")]
        if (
            config.model_type not in _ROTATED_IN_HALVES
            or rope.get("rope_type", "default") not in _FIXED_FREQUENCIES
            or len(tables) != 1
            or len(tables[0]) * 2 != cache.shape.width
        ):
            return None
        return cls(tables[0].float(), cache)

    def carry_out(self, shifts: list[Shift]) -> None:
        """Do the shifts in their order, and take each off the list as it is done: none may be done twice."""
        while shifts:
            self.turn(shifts[0])
            del shifts[0]

    def turn(self, shift: Shift) -> None:
        """Carry out one shift of the scheduler's plan, in every layer."""
        angle = shift.by * self._frequencies
        cos, sin = angle.cos(), angle.sin()  # [width / 2] float32
        for layer in range(self._cache.shape.layers):
            keys, values = self._cache.keys[layer], self._cache.values[layer]
            for source, target in shift.copies:
                if source != target:
                    values[target].copy_(values[source])
                keys[target].copy_(self._turned(keys[source].float(), cos, sin))

    def _turned(self, keys: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """A block's keys turned; `cos` and `sin` are `[width / 2]`."""
        dim = self._cache.width_dim
        shape = [-1 if place == dim else 1 for place in range(3)]
        cos, sin = cos.view(shape), sin.view(shape)
        left, right = keys.chunk(2, dim)
        return torch.cat((left * cos - right * sin, right * cos + left * sin), dim)
