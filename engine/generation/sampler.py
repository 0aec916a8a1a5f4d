"""Which token comes next."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.types import Sampling

# Under this a temperature is as good as 0, and dividing by it can leave float32.
_GREEDY_BELOW = 1e-3


def sample(logits: torch.Tensor, sampling: Sampling, random: torch.Generator | None) -> int:
    """Choose a token id from one row of logits: `[vocab]`, any float type.

    Greedy at temperature 0 or next to it. Otherwise temperature, then top-k, then top-p (Holtzman et al.
    2020: the smallest set of tokens whose probability reaches p), then min-p (Nguyen et al. 2024: at least
    that share of the best token's probability), then a draw from `random`.
    """
    if sampling.temperature < _GREEDY_BELOW:
        return int(logits.argmax())
    logits = logits.float() / sampling.temperature  # [vocab] float32
    if 0 < sampling.top_k < logits.numel():
        smallest = logits.topk(sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    probabilities = logits.softmax(-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        # A token stays while the mass before it is under p, so the first always stays.
        ordered[(ordered.cumsum(-1) - ordered) >= sampling.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(0, order, ordered)
    if sampling.min_p > 0:
        probabilities[probabilities < sampling.min_p * probabilities.max()] = 0
    return int(torch.multinomial(probabilities, 1, generator=random))


def penalise(logits: torch.Tensor, token_ids: Sequence[int], penalty: float) -> torch.Tensor:
    """Make tokens that were there before less likely (CTRL, Keskar et al. 2019): `[vocab]` to `[vocab]`."""
    seen = torch.tensor(sorted(set(token_ids)), device=logits.device)
    scores = logits[seen]
    return logits.index_put((seen,), torch.where(scores > 0, scores / penalty, scores * penalty))


def forbid(logits: torch.Tensor, token_ids: Sequence[int]) -> torch.Tensor:
    """Make these tokens impossible: `[vocab]` to `[vocab]`."""
    return logits.index_fill(0, torch.tensor(sorted(token_ids), device=logits.device), -torch.inf)
