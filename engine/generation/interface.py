"""Our attention in transformers' models, through their attention interface: no code for each architecture."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

from engine.errors import ModelUnusable

_NAME = "frontdesk"
_KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention"})


def take_attention(model: Any) -> None:
    """From now on the model's forward pass takes `attend`, which is called in place of its attention.

    `attend(query, key, value, layer, scale, window)` gets tensors `[1, heads, tokens, width]`, positions
    applied, and returns `[1, tokens, heads, width]`. `window` in tokens, 0: all. Raises `ModelUnusable` for
    an architecture that cannot be run so.
    """
    if not getattr(model, "_supports_attention_backend", False):
        raise ModelUnusable(
            f"model: {type(model).__name__} does not let its attention be replaced, so it cannot run here. "
            "GPT-2, Llama, Qwen, Mistral, Gemma and most newer decoders can. Or serve it elsewhere and set "
            "FRONTDESK_GENERATOR=remote."
        )
    config = model.config.get_text_config()
    others = set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS
    if others or getattr(model, "_is_stateful", False) or getattr(config, "attention_chunk_size", None):
        what = ", ".join(sorted(others)) or "state of its own"
        raise ModelUnusable(
            f"model: {type(model).__name__} has layers that are not plain attention ({what}) and cannot run "
            "here. Serve it elsewhere and set FRONTDESK_GENERATOR=remote."
        )
    model.set_attn_implementation(_NAME)


def _forward(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    attend: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in each layer. No mask is asked for: what a token may see, `attend` knows."""
    if softcap is not None or getattr(module, "sinks", None) is not None:
        raise ModelUnusable(
            f"model: {type(module).__name__} caps its attention scores or adds learned sinks to them, which "
            "cannot be run here yet. Serve it elsewhere and set FRONTDESK_GENERATOR=remote."
        )
    if not getattr(module, "is_causal", True):
        raise ModelUnusable(f"model: {type(module).__name__} sees later tokens too: it is no decoder")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, module.layer_idx, scale, sliding_window or 0), None


AttentionInterface.register(_NAME, _forward)
