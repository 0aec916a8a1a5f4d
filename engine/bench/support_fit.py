"""Learns the support check's weights from the sample pages: `python -m engine.bench.support_fit`.

Logistic loss; the hand-written cases and the made ones count alike, and so do supported and unsupported
ones. The threshold is where 6 % of the supported cases would be refused, by scores from folds of pages that
the weights were not fitted on. Besides the weights for everybody, two sets are fitted on one half of the
pages each, to be measured on the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from engine.bench.support_set import Case, half_of, made_cases, sample_passages, written_cases
from engine.search.embedder import load_embedder
from engine.support.features import is_contradicted
from engine.support.model import MOST_DEVIATIONS, WEIGHTS
from engine.support.support import Support

_FREE = ("copied", "actor same", "denied otherwise", "weak", "in context")
_UNITS, _STEPS, _RATE, _FOLDS, _FALSE_ALARMS = 4, 400, 0.03, 6, 0.06
_SPARSE, _SMALL = 3e-3, 1e-3
# Of the made cases every one in this many is learned from: there are far more than written ones.
_EVERY = 3

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Judgements:
    """The features of many cases, by row."""

    against: torch.Tensor  # [cases, features] float32
    free: torch.Tensor  # [cases, features] float32
    is_supported: NDArray[np.bool_]
    is_made: NDArray[np.bool_]
    kinds: NDArray[np.str_]
    pages: NDArray[np.str_]
    is_contradicted: NDArray[np.bool_]
    """Refused whatever their score."""
    against_names: tuple[str, ...]


def judgements() -> Judgements:
    """Judge the cases of the sample pages."""
    pages = sample_passages()
    embedder = load_embedder(None, torch.device("cpu"))
    cases = [*written_cases(), *list(made_cases(pages))[::_EVERY]]
    found: list[tuple[Case, dict[str, float]]] = []
    for page, passages in pages.items():
        own = [case for case in cases if case.page == page]
        judged = Support(passages, embedder).judge([case.text for case in own])
        found += [(case, dict(one.features)) for case, one in zip(own, judged, strict=True) if one]
    names = sorted({name for _, features in found for name in features} - {"bias", *_FREE})

    def table(columns: Sequence[str]) -> torch.Tensor:
        return torch.tensor([[features.get(name, 0.0) for name in columns] for _, features in found])

    return Judgements(
        table(names),
        table(_FREE),
        np.array([case.is_supported for case, _ in found]),
        np.array([case.is_made for case, _ in found]),
        np.array([case.kind for case, _ in found]),
        np.array([case.page for case, _ in found]),
        np.array([is_contradicted(features) for _, features in found]),
        tuple(names),
    )


def fitted(data: Judgements, rows: NDArray[np.bool_]) -> dict[str, Any]:
    """Weights learned from these rows, as `SupportModel` takes them, without a threshold."""
    torch.manual_seed(0)
    rows = rows & ~data.is_contradicted
    scale = data.against.std(0).clamp(min=0.05)
    free_scale = data.free.std(0).clamp(min=0.05)
    chosen = torch.tensor(rows)
    against, free = (data.against / scale)[chosen], (data.free / free_scale)[chosen]
    wanted = torch.tensor(data.is_supported[rows], dtype=torch.float32)
    weight = _balanced(data, rows)
    inner = torch.nn.Parameter(torch.randn(against.shape[1], _UNITS) * 0.5 - 2)
    turn = torch.nn.Parameter(torch.randn(free.shape[1], _UNITS) * 0.1)
    start = torch.nn.Parameter(torch.randn(_UNITS) * 0.3 - 1)
    size, bias = torch.nn.Parameter(torch.zeros(_UNITS)), torch.nn.Parameter(torch.tensor(2.0))
    linear = torch.nn.Parameter(torch.full((against.shape[1],), -3.0))
    optimiser = torch.optim.Adam([inner, turn, start, size, bias, linear], lr=_RATE)
    for _ in range(_STEPS):
        units = torch.sigmoid(against @ softplus(inner) + free @ turn + start)
        score = bias - units @ softplus(size) - against.clamp(max=MOST_DEVIATIONS) @ softplus(linear) * 0.3
        loss = (weight * binary_cross_entropy_with_logits(score, wanted, reduction="none")).sum()
        loss = loss + _SPARSE * (softplus(inner).sum() + softplus(linear).sum())
        loss = loss + _SMALL * ((turn**2).sum() + 0.1 * (softplus(size) ** 2).sum())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    learned = {
        "against_scale": scale,
        "free_scale": free_scale,
        "linear": softplus(linear) * 0.3,
        "inner": softplus(inner),
        "turn": turn,
        "start": start,
        "size": softplus(size),
        "bias": bias,
    }
    return {"against": list(data.against_names), "free": list(_FREE)} | {
        name: np.round(value.detach().numpy().astype(float), 4).tolist() for name, value in learned.items()
    }


def _balanced(data: Judgements, rows: NDArray[np.bool_]) -> torch.Tensor:

    weight = np.zeros(int(rows.sum()))
    supported, made, kinds = data.is_supported[rows], data.is_made[rows], data.kinds[rows]
    for is_supported in (False, True):
        for is_made in (False, True):
            sort = (supported == is_supported) & (made == is_made)
            for kind in set(kinds[sort]):
                inside = sort & (kinds == kind)
                weight[inside] = 1 / np.sqrt(inside.sum())
            weight[sort] *= 0.25 / weight[sort].sum()
    return torch.tensor(weight, dtype=torch.float32)


def scores(data: Judgements, model: dict[str, Any]) -> Array:
    """Of every row; what `SupportModel.score` gives, for all at once."""
    against = data.against.numpy() / np.array(model["against_scale"])
    free = data.free.numpy() / np.array(model["free_scale"])
    units = 1 / (
        1
        + np.exp(
            -(against @ np.array(model["inner"]) + free @ np.array(model["turn"]) + np.array(model["start"]))
        )
    )
    linear = np.minimum(against, MOST_DEVIATIONS) @ np.array(model["linear"])
    found: Array = model["bias"] - linear - units @ np.array(model["size"])
    return found


def with_threshold(data: Judgements, rows: NDArray[np.bool_]) -> dict[str, Any]:
    """Weights and the threshold that keeps to the false alarms, by folds of pages."""
    folds = {page: number % _FOLDS for number, page in enumerate(sorted(set(data.pages[rows])))}
    fold = np.array([folds.get(page, -1) for page in data.pages])
    apart = np.zeros(len(fold))
    for number in range(_FOLDS):
        inside = rows & (fold == number)
        apart[inside] = scores(data, fitted(data, rows & ~inside))[inside]
    apart[data.is_contradicted] = -np.inf
    made, written = (
        np.sort(apart[rows & data.is_supported & (data.is_made == is_made)]) for is_made in (True, False)
    )
    levels = np.concatenate([made, written])
    levels = levels[np.isfinite(levels)]
    refused = np.array([((made < level).mean() + (written < level).mean()) / 2 for level in levels])
    kept = levels[refused <= max(_FALSE_ALARMS, refused.min())]
    return fitted(data, rows) | {"threshold": round(float(kept.max()), 4)}


def main() -> None:
    """Fit on all pages and on each half, and store the weights."""
    data = judgements()
    half = np.array([half_of(page) for page in data.pages])
    models = {"all": with_threshold(data, half >= 0)} | {
        f"half {number}": with_threshold(data, half == number) for number in (0, 1)
    }
    WEIGHTS.write_text(json.dumps(models) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
