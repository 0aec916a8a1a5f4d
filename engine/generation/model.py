"""Loading a causal language model: safetensors only, no code from the model's repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from engine.cores import aside
from engine.errors import ModelUnusable

STARTER = Path(__file__).parent.parent / "data" / "starter" / "model"
# Keys by which a config.json has made loaders run code of the repository (CVE-2026-4372, CVE-2026-22807).
_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "_attn_implementation_internal"})


Precision = Literal["float32", "bfloat16", "int8"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on its device, with its tokenizer."""

    name: str
    model: Any
    tokenizer: Any
    context_length: int
    device: torch.device
    eos_ids: frozenset[int]
    precision: Precision
    """int8: the weights are still in 16 or 32 bits here and are made smaller by whoever runs them."""


def choose_device(wanted: str | None) -> torch.device:
    """`wanted`, else CUDA when present, else the CPU. Raises `ModelUnusable` for one that is not there."""
    try:
        device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ModelUnusable(f"device: {wanted!r} is none; cpu, cuda and cuda:1 are") from error
    if wanted and device.type == "cuda" and not torch.cuda.is_available():
        raise ModelUnusable(f"device: {wanted} is not there, or this torch was built without CUDA; try cpu")
    return device


def choose_precision(wanted: Precision | None, device: torch.device) -> Precision:
    """`wanted`, else bfloat16 on a GPU and on processors that multiply it natively, else float32.

    Raises `ModelUnusable` for int8 on a GPU, where there are no such kernels here.
    """
    if wanted == "int8" and device.type != "cpu":
        raise ModelUnusable("precision: int8 runs on a CPU only; on a GPU leave it out for bfloat16")
    return wanted or ("bfloat16" if device.type == "cuda" or _multiplies_bfloat16() else "float32")


def _multiplies_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def load_model(name: str | None, device: torch.device, precision: Precision | None = None) -> LoadedModel:
    """Load a directory or hub id; None is the starter. Without a `precision` the device's best is taken.

    Raises `ModelUnusable`, saying what is missing, before any weight is read.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    source = name or str(STARTER)
    if Path(source).is_dir():
        check_directory(Path(source))
    elif Path(source).is_absolute() or source.startswith("."):
        raise ModelUnusable(f"model: {source} is no directory")
    precision = choose_precision(precision, device)
    computed_in = choose_precision(None, device) if precision == "int8" else precision
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[computed_in]
    options = {"use_safetensors": True, "trust_remote_code": False}

    def read() -> Any:
        return AutoModelForCausalLM.from_pretrained(source, dtype=dtype, output_loading_info=True, **options)

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        loaded = aside(read)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelUnusable(
            f"model: {source} cannot be loaded ({reason}). Name a directory with config.json, tokenizer "
            "and *.safetensors, or a hub id that this machine can reach."
        ) from error
    model, loading = loaded
    if missing := sorted(loading["missing_keys"]):
        raise ModelUnusable(
            f"model: {source} lacks weights ({', '.join(missing[:3])}, …): is the copy complete?"
        )
    return LoadedModel(
        name="frontdesk-starter" if name is None else Path(source).name if Path(source).is_dir() else source,
        model=model.to(device).eval(),
        tokenizer=tokenizer,
        context_length=_context_length(model.config, tokenizer),
        device=device,
        eos_ids=_eos_ids(model, tokenizer),
        precision=precision,
    )


def check_directory(directory: Path) -> None:
    """Raise `ModelUnusable` unless the directory holds a config without code and safetensors weights."""
    config = directory / "config.json"
    if not config.is_file():
        raise ModelUnusable(f"model: {directory} has no config.json, so it is no Hugging Face model")
    try:
        keys = _all_keys(json.loads(config.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ModelUnusable(f"model: {config} is no valid JSON: {error}") from error
    if found := sorted(_CODE_KEYS & keys):
        raise ModelUnusable(f"model: {config} asks to run code ({', '.join(found)}), which is refused")
    if not any(directory.glob("*.safetensors")):
        pickles = [
            path.name for path in directory.glob("*") if path.suffix in {".bin", ".pt", ".pth", ".ckpt"}
        ]
        if pickles:
            raise ModelUnusable(
                f"model: {directory} has its weights only as pickle ({', '.join(pickles)}), which can run "
                "code when read. Convert them: load the model with transformers where you trust it, then "
                "save_pretrained(..., safe_serialization=True)."
            )
        raise ModelUnusable(f"model: {directory} has no weights (*.safetensors)")


def _all_keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in _all_keys(inner)}
    if isinstance(value, list):
        return {key for inner in value for key in _all_keys(inner)}
    return set()


def _context_length(config: Any, tokenizer: Any) -> int:
    text = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    lengths = [int(value) for name in names if (value := getattr(text, name, None))]
    # Tokenizers without a limit state an absurdly large one.
    if 0 < getattr(tokenizer, "model_max_length", 0) < 10_000_000:
        lengths.append(int(tokenizer.model_max_length))
    return min(lengths, default=1024)


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    found: set[int] = set()
    for value in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        found.update(value if isinstance(value, list) else [] if value is None else [value])
    return frozenset(found)
