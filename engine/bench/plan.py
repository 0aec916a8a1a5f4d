"""What one run of the benchmark measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.bench import machine, models, roster
from engine.errors import BadRequest

_CONCURRENCY = {"cpu": (1, 8, 32), "cuda": (1, 8, 64, 256)}
_MODELS = {"cpu": ("gpt2", "qwen"), "cuda": ("gpt2", "qwen3-0.6b", "qwen3-8b")}
_QUICK_CONCURRENCY, _QUICK_NEW_TOKENS = (1, 8), 16
_CONVERSATION_MODEL = {"cpu": "qwen", "cuda": "qwen3-0.6b"}


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes are in tokens."""

    device: str
    models: tuple[str, ...]
    concurrency: tuple[int, ...]
    repeats: int
    names: tuple[str, ...]
    """Contestants and parts."""
    conversation_model: str
    prompt_tokens: int = 128
    new_tokens: int = 64
    http_clients: int = 32
    turns: int = 10
    turn_tokens: int = 136
    """What the customer says in a turn; the answer adds `new_tokens`."""

    @property
    def contestants(self) -> list[str]:
        return [name for name in self.names if roster.is_contestant(name)]

    @property
    def precision(self) -> str:
        """That of our own engine where only one is measured."""
        ours = [name for name in self.names if roster.family_of(name) == roster.OURS]
        if ours:
            return roster.precision_of(ours[0])
        return "bfloat16" if self.device == "cuda" or machine.has_bfloat16() else "float32"


def make_plan(
    device: str,
    *,
    models_wanted: Sequence[str] = (),
    concurrency: Sequence[int] = (),
    repeats: int = 3,
    only: Sequence[str] = (),
    quick: bool = False,
) -> Plan:
    """Fill in what was not asked for. Raises `BadRequest` for models and names that do not exist."""
    wanted = [name for each in models_wanted for name in each.split(",")]
    for name in wanted:
        models.check(name)
    if any(number < 1 for number in concurrency):
        raise BadRequest("--concurrency: each number must be at least 1")
    chosen = tuple(wanted) or _MODELS[device][: 1 if quick else None]
    is_tiny = all(name.startswith("tiny-") for name in chosen)
    return Plan(
        device=device,
        models=chosen,
        concurrency=tuple(concurrency) or (_QUICK_CONCURRENCY if quick else _CONCURRENCY[device]),
        repeats=1 if quick else repeats,
        names=tuple(roster.choose(only, roster.usual(device, machine.has_bfloat16()))),
        conversation_model="tiny-qwen" if is_tiny else _CONVERSATION_MODEL[device],
        new_tokens=_QUICK_NEW_TOKENS if quick else 64,
    )


def numbers(text: str) -> list[int]:
    """`1,8,32` as numbers. Raises `BadRequest` for anything else."""
    try:
        return [int(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        raise BadRequest(f"--concurrency {text}: numbers with commas between them are wanted") from None
