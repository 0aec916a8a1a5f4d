"""Models with random weights, built on the spot: speed does not depend on what the weights say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from engine.bench.vocabulary import byte_tokenizer
from engine.errors import BadRequest

_END = 0


@dataclass(frozen=True, slots=True)
class RandomModel:
    """A model directory, as `load_model` and every peer read it."""

    name: str
    directory: Path
    vocabulary: int
    context: int
    step_weights: int
    """Weights that a decoding step reads: all but embeddings of which it looks up single rows."""


def _gpt2(**changes: Any) -> Any:
    from transformers import GPT2Config

    return GPT2Config(bos_token_id=_END, eos_token_id=_END, **changes)


def _qwen3(**changes: Any) -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(bos_token_id=_END, eos_token_id=_END, **changes)


# GPT-2 124M is transformers' default. `qwen` has Qwen3's shape at 0.19 billion weights; the next two are
# the published configurations of Qwen3-0.6B and Qwen3-8B. The tiny ones are for tests.
_CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": _gpt2,
    "qwen": lambda: _qwen3(
        vocab_size=65536,
        hidden_size=768,
        intermediate_size=2304,
        num_hidden_layers=20,
        num_attention_heads=12,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    ),
    "qwen3-0.6b": lambda: _qwen3(
        vocab_size=151936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=True,
    ),
    "qwen3-8b": lambda: _qwen3(
        vocab_size=151936,
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=False,
    ),
    "tiny-gpt2": lambda: _gpt2(vocab_size=512, n_positions=512, n_embd=64, n_layer=2, n_head=4),
    "tiny-qwen": lambda: _qwen3(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    ),
}
NAMES = tuple(_CONFIGS)
# Above this a model is stored in half precision.
_LARGE = 1_000_000_000


def check(name: str) -> None:
    """Raise `BadRequest` for a name that is none of `NAMES`."""
    if name not in _CONFIGS:
        raise BadRequest(f"--model {name}: there is {', '.join(NAMES)}")


def build(name: str, directory: Path, device: str) -> RandomModel:
    """Write the model and its tokenizer to a new folder in `directory`, the same each time."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config, family = _CONFIGS[name](), cast(Any, AutoModelForCausalLM)
    with torch.device("meta"):
        weights = sum(w.numel() for w in family.from_config(config).parameters())
    torch.manual_seed(0)
    # Drawing 8 billion numbers takes minutes on a CPU.
    with torch.device(device):
        model = family.from_config(config, dtype=torch.bfloat16 if weights > _LARGE else torch.float32)
    folder = directory / name
    context = int(config.max_position_embeddings)
    model.save_pretrained(folder)
    byte_tokenizer(config.vocab_size, context).save_pretrained(folder)
    return RandomModel(name, folder, int(config.vocab_size), context, _step_weights(model))


def _step_weights(model: Any) -> int:
    """A tied input embedding is the output layer too, which is read as a whole."""
    looked_up = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    looked_up -= {model.get_output_embeddings().weight}
    return sum(weight.numel() for weight in model.parameters() if weight not in looked_up)
