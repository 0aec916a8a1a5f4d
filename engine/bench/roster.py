"""Who takes part, by name: a family and a precision, as in `ours-bfloat16`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.bench.contestant import Contestant
from engine.errors import BadRequest

OURS, ONE_BY_ONE, STATIC = "ours", "transformers-one-by-one", "transformers-static"
CONTINUOUS, CTRANSLATE2 = "transformers-continuous", "ctranslate2"
FAMILIES = (ONE_BY_ONE, STATIC, CONTINUOUS, CTRANSLATE2, OURS)
PRECISIONS = ("float32", "bfloat16", "float16", "int8", "int8_float16")
# Parts of the benchmark that are no contestants.
PARTS = ("conversation", "http")


def usual(device: str, has_bfloat16: bool) -> list[str]:
    """Who takes part unless somebody is named. Each peer comes as it does best on this machine,
    but for the first, which is what people do at first: float32 on a CPU."""
    half = "bfloat16" if has_bfloat16 or device == "cuda" else "float32"
    if device == "cuda":
        theirs = [f"{CTRANSLATE2}-float16", f"{CTRANSLATE2}-int8_float16"]
        return (
            [f"{family}-{half}" for family in (ONE_BY_ONE, STATIC, CONTINUOUS)] + theirs + [f"{OURS}-{half}"]
        )
    return [
        f"{ONE_BY_ONE}-float32",
        f"{STATIC}-{half}",
        f"{CONTINUOUS}-{half}",
        f"{CTRANSLATE2}-float32",
        f"{CTRANSLATE2}-int8",
        f"{OURS}-{half}",
        f"{OURS}-int8",
    ]


def choose(only: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names to run: all, or what `only` says: contestants, whole families, parts.

    Raises `BadRequest` for a name that nobody has.
    """
    if not only:
        return [*names, *PARTS]
    chosen: list[str] = []
    for wanted in only:
        found = [name for name in (*names, *PARTS) if name == wanted or family_of(name) == wanted]
        if not found and not is_contestant(wanted):
            raise BadRequest(
                f"--only {wanted}: there is {', '.join([*FAMILIES, *PARTS])}, and these with a precision, "
                f"such as {OURS}-float32"
            )
        chosen += found or [wanted]
    return list(dict.fromkeys(chosen))


def family_of(name: str) -> str:
    """`ctranslate2` of `ctranslate2-int8`."""
    return name.rpartition("-")[0]


def precision_of(name: str) -> str:
    """`int8` of `ctranslate2-int8`."""
    return name.rpartition("-")[2]


def is_contestant(name: str) -> bool:
    """Whether `make` knows it."""
    return family_of(name) in FAMILIES and precision_of(name) in PRECISIONS


def make(name: str) -> Contestant:
    """The contestant, nothing loaded yet. Imports only what this one needs: its memory is counted."""
    return _MAKERS[family_of(name)](precision_of(name))


def _ours(precision: str) -> Contestant:
    from engine.bench.ours import Ours

    return Ours(precision)


def _one_by_one(precision: str) -> Contestant:
    from engine.bench.transformers_generate import OneByOne

    return OneByOne(precision)


def _static(precision: str) -> Contestant:
    from engine.bench.transformers_generate import StaticBatch

    return StaticBatch(precision)


def _continuous(precision: str) -> Contestant:
    from engine.bench.transformers_continuous import ContinuousBatching

    return ContinuousBatching(precision)


def _ctranslate2(precision: str) -> Contestant:
    from engine.bench.ctranslate2_batch import CTranslate2

    return CTranslate2(precision)


_MAKERS: dict[str, Callable[[str], Contestant]] = {
    OURS: _ours,
    ONE_BY_ONE: _one_by_one,
    STATIC: _static,
    CONTINUOUS: _continuous,
    CTRANSLATE2: _ctranslate2,
}
