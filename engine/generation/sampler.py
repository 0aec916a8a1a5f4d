"""Which token comes next, for all rows of a step at once.

Knows nothing of models, caches or text. What a row gets depends on that row alone: its logits, its options,
its seed and how many tokens it has. Randomness is counted, not remembered: a sequence that was put aside and
resumed in another row goes on with the same text.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from engine.generation import TokenScore
from engine.types import Sampling

# Under this a temperature is as good as 0, and dividing by it can leave float32.
_GREEDY_BELOW = 1e-3
# Tokens that share one entry of a row's first, coarse cumulative sum.
_BLOCK = 256
# Bits of a uniform number: so few that float32 keeps it below 1 times any total.
_UNIFORM_BITS = 23
# Calls without a sequence after which its token tensor is let go; it is made anew if the sequence is back.
_FORGET_AFTER = 64
# In place of a token id on its way to the host.
_BROKEN, _REJECTED = -1, -2
# What OpenAI writes for a token that cannot come; JSON has no infinity.
_LEAST_LOGPROB = -9999.0


class Row(Protocol):
    """What the sampler reads of a sequence."""

    @property
    def token_ids(self) -> list[int]:
        """Prompt and generated tokens; only ever grows."""
        ...

    @property
    def num_prompt(self) -> int: ...

    @property
    def num_generated(self) -> int: ...

    @property
    def sampling(self) -> Sampling: ...

    @property
    def eos_ids(self) -> frozenset[int]: ...


@dataclass(frozen=True, slots=True)
class Sampled:
    """A token for every row. A broken row (logits NaN, infinite or all impossible) has token 0."""

    token_ids: list[int]
    device_ids: torch.Tensor  # [rows] int64, on the sampler's device
    is_broken: list[bool]
    scores: list[TokenScore | None]
    """Of the rows that asked for log-probabilities."""


class Sampler:
    """One for each engine. Not thread-safe: it keeps its buffers from call to call."""

    def __init__(self, device: torch.device, vocab_size: int) -> None:
        self._device, self._vocab_size = device, vocab_size
        self._random = random.Random()
        self._histories: dict[int, _History] = {}
        self._calls = 0
        self._padded = -(-vocab_size // _BLOCK) * _BLOCK
        self._buffers = torch.empty(2, 0, self._padded, device=device)  # [2, rows, padded] float32

    @torch.inference_mode()
    def sample(self, logits: torch.Tensor, rows: Sequence[Row]) -> Sampled:
        """Choose a token for each row: `[rows, vocab]`, bfloat16 or float32, which is left as it is.

        First the repetition, frequency and presence penalties, then temperature, top-k, top-p and min-p.
        One copy to the host, one more where a row asked for log-probabilities, one more for each time that
        top-p rejected a draw.
        """
        self._calls += 1
        scores = self._adjusted(logits, rows)
        best = scores.max(-1)  # carries NaN on, so it tells a broken row as well
        is_broken, ids = ~best.values.isfinite(), best.indices
        drawn = [row for row, it in enumerate(rows) if it.sampling.temperature >= _GREEDY_BELOW]
        draw = self._draw(scores, best.values, drawn, rows) if drawn else None
        if draw is not None:
            ids = draw.into(ids)
        found = ids.masked_fill(is_broken, _BROKEN).tolist()
        while draw is not None and (rejected := [row for row, it in enumerate(found) if it == _REJECTED]):
            ids = draw.again(rejected).into(ids)
            found = ids.masked_fill(is_broken, _BROKEN).tolist()
        if _BROKEN in found:
            ids = ids.masked_fill(is_broken, 0)
        return Sampled(
            token_ids=[max(0, it) for it in found],
            device_ids=ids,
            is_broken=[it == _BROKEN for it in found],
            scores=_token_scores(logits, ids, found, rows),
        )

    def _adjusted(self, logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        """The logits with penalties, and without end tokens where it is too early for them."""
        repeated = [row for row, it in enumerate(rows) if it.sampling.repetition_penalty != 1]
        counted = [
            row
            for row, it in enumerate(rows)
            if it.num_generated and (it.sampling.frequency_penalty or it.sampling.presence_penalty)
        ]
        forbidden = [
            (row, token_id)
            for row, it in enumerate(rows)
            if it.num_generated < it.sampling.min_tokens
            for token_id in it.eos_ids
            if token_id < self._vocab_size
        ]
        if not (repeated or counted or forbidden):
            return logits
        scores = logits.to(torch.float32, copy=True)  # [rows, vocab]
        if repeated:
            self._penalise_repetition(scores, repeated, rows)
        if counted:
            self._penalise_counts(scores, counted, rows)
        if forbidden:
            where = torch.tensor(forbidden, device=self._device)
            scores[where[:, 0], where[:, 1]] = -torch.inf
        return scores

    def _penalise_repetition(self, scores: torch.Tensor, chosen: list[int], rows: Sequence[Row]) -> None:
        """Make what was there before less likely, in the prompt too.

        CTRL (Keskar et al. 2019, section 4.1), with transformers' reading for negative logits: they are
        multiplied, since dividing would raise them.
        """
        history = [self._history(rows[row]) for row in chosen]
        where, penalty = self._spread(
            chosen, history, [rows[row].sampling.repetition_penalty for row in chosen]
        )
        values = scores[where]
        # A token that is there twice is written twice, with the same value.
        scores[where] = torch.where(values > 0, values / penalty, values * penalty)

    def _penalise_counts(self, scores: torch.Tensor, chosen: list[int], rows: Sequence[Row]) -> None:
        """Take off `count * frequency + (count > 0) * presence`, counting generated tokens.

        OpenAI's API reference, "Frequency and presence penalties".
        """
        history = [self._history(rows[row])[rows[row].num_prompt :] for row in chosen]
        where, frequency = self._spread(
            chosen, history, [rows[row].sampling.frequency_penalty for row in chosen]
        )
        _, presence = self._spread(chosen, history, [rows[row].sampling.presence_penalty for row in chosen])
        scores.index_put_(where, -frequency, accumulate=True)
        scores[where] = scores[where] - presence

    def _spread(
        self, chosen: list[int], history: list[torch.Tensor], options: list[float]
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Row and token of every entry of the histories, `[entries]` each, and its row's option."""
        lengths = torch.tensor([len(ids) for ids in history])
        owners = torch.tensor(chosen).repeat_interleave(lengths).to(self._device)
        spread = torch.tensor(options).repeat_interleave(lengths).to(self._device)
        return (owners, torch.cat(history).to(self._device)), spread

    def _history(self, row: Row) -> torch.Tensor:
        """The row's tokens, `[tokens]` int64 on the host, which costs only what came since the last call."""
        found = self._histories.get(id(row))
        if found is None:
            self._histories = {
                key: kept
                for key, kept in self._histories.items()
                if self._calls - kept.last_call < _FORGET_AFTER
            }
            found = self._histories[id(row)] = _History(row)
        found.last_call = self._calls
        return found.ids()

    def _draw(self, scores: torch.Tensor, best: torch.Tensor, drawn: list[int], rows: Sequence[Row]) -> _Draw:
        """The first draw of the rows that are not greedy."""
        if len(drawn) < len(rows):
            index = torch.tensor(drawn, device=self._device)
            scores, best = scores[index], best[index]
        if self._buffers.shape[1] < len(drawn):
            self._buffers = self._buffers.new_empty(2, len(drawn), self._padded)
        weights, spare = self._buffers[:, : len(drawn)]
        options = torch.tensor(
            [[s.temperature, s.top_p, s.min_p] for s in (rows[row].sampling for row in drawn)]
        ).to(self._device)
        # The softmax before its division: [drawn, vocab] float32, 1 for the best token.
        live = torch.sub(scores.float(), best.float()[:, None], out=weights[:, : self._vocab_size])
        live.div_(options[:, :1]).exp_()
        weights[:, self._vocab_size :] = 0
        samplings = [rows[row].sampling for row in drawn]
        self._keep_top_k(live, [it.top_k for it in samplings])
        mass = _Mass(weights)
        limits = None
        if any(it.top_p < 1 for it in samplings):
            limits = (mass.total * options[:, 1]).masked_fill(options[:, 1] >= 1, torch.inf)
        if any(it.min_p > 0 for it in samplings):
            # Min-p (Nguyen et al. 2024): at least that share of the best token's probability.
            live.masked_fill_(live < options[:, 2:], 0)
            mass = _Mass(weights)
        seeds = [self._seed(it) for it in samplings]
        counters = [rows[row].num_generated for row in drawn]
        return _Draw(list(drawn), mass, limits, list(zip(seeds, counters, strict=True)), spare)

    def _keep_top_k(self, weights: torch.Tensor, top_k: list[int]) -> None:
        """Top-k (Fan et al. 2018): nothing that is less likely than the k-th best token."""
        limited = [row for row, k in enumerate(top_k) if 0 < k < self._vocab_size]
        if not limited:
            return
        index = torch.tensor(limited, device=self._device)
        places = torch.tensor([[top_k[row] - 1] for row in limited], device=self._device)
        those = weights if len(limited) == len(top_k) else weights[index]
        best = those.topk(max(top_k[row] for row in limited)).values
        smallest = weights.new_zeros(len(top_k), 1)
        smallest[index] = best.gather(1, places)
        weights.masked_fill_(weights < smallest, 0)

    def _seed(self, sampling: Sampling) -> int:
        return self._random.getrandbits(63) if sampling.seed is None else sampling.seed


class _History:
    """One sequence's tokens as a tensor that grows with it; it holds the sequence, so no other has its id."""

    def __init__(self, row: Row) -> None:
        self.row, self.last_call = row, 0
        self._buffer, self._length = torch.empty(0, dtype=torch.long), 0

    def ids(self) -> torch.Tensor:
        """`[tokens]` int64, valid until the next call."""
        token_ids, known = self.row.token_ids, self._length
        self._length = len(token_ids)
        if self._length > len(self._buffer):
            known, self._buffer = 0, torch.empty(2 * self._length, dtype=torch.long)
        if known < self._length:
            self._buffer[known : self._length] = torch.tensor(token_ids[known:])
        return self._buffer[: self._length]


class _Mass:
    """Weights that need not add up to 1, and their sums by block: what a draw needs."""

    def __init__(self, weights: torch.Tensor) -> None:
        self.weights = weights  # [rows, padded] float32
        self.cumulative = weights.view(len(weights), -1, _BLOCK).sum(-1).cumsum(-1)  # [rows, blocks]

    @property
    def total(self) -> torch.Tensor:
        """`[rows]`."""
        return self.cumulative[:, -1]

    def pick(self, uniform: torch.Tensor) -> torch.Tensor:
        """The tokens at these points of the cumulative distribution: `[rows, 2]` to `[rows, 1]` int64.

        Inverse transform sampling (Devroye 1986, chapter III.2) in two steps, each with a number of its
        own: a block by its share of the total, then a token by its share of the block. So float32 is fine
        enough for any vocabulary, and only one block is summed up token by token.
        """
        block = _first_above(self.cumulative, uniform[:, :1])
        blocks = self.weights.view(len(self.weights), -1, _BLOCK)
        inner = blocks.gather(1, block[:, :, None].expand(-1, 1, _BLOCK)).squeeze(1).cumsum(-1)
        return block * _BLOCK + _first_above(inner, uniform[:, 1:])


def _first_above(cumulative: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Where each row first exceeds that share of its last value: `[rows, 1]` int64."""
    target = cumulative[:, -1:] * share
    # NaN, of a broken row, is found behind the end.
    return torch.searchsorted(cumulative, target, right=True).clamp_(max=cumulative.shape[1] - 1)


class _Draw:
    """Draws until every row has a token within its nucleus: exact, and without sorting a vocabulary.

    A token is in the nucleus when what is likelier than it weighs less than top-p of all (Holtzman et al.
    2020; of equally likely ones all are in). A draw from all tokens that is taken only if it is in the
    nucleus is distributed as one from the nucleus; and a token that is not in shows that no token as
    unlikely is, so the next draw leaves them out and soon hits (FlashInfer, "Sorting-free GPU kernels for
    LLM sampling", 2025; rejection sampling after von Neumann 1951).
    """

    def __init__(
        self,
        rows: list[int],
        mass: _Mass,
        limits: torch.Tensor | None,
        counters: list[tuple[int, int]],
        spare: torch.Tensor,
    ) -> None:
        self._rows, self._mass, self._limits = rows, mass, limits
        self._counters, self._spare, self._attempt = counters, spare, 0
        self._next = mass

    def into(self, ids: torch.Tensor) -> torch.Tensor:
        """Draw once: `ids`, `[batch]` int64, with a token or `_REJECTED` for each of our rows."""
        numbers = [uniform(seed, counter, self._attempt) for seed, counter in self._counters]
        device = ids.device
        picked = self._mass.pick(torch.tensor(numbers).to(device))  # [rows, 1]
        weight = self._mass.weights.gather(1, picked)
        # A scan in parallel can be uneven by a rounding, and point at a token that weighs nothing.
        is_taken = weight[:, 0] > 0
        if self._limits is not None:
            weights = self._mass.weights
            above = torch.where(weights > weight, weights, weights.new_zeros(()), out=self._spare)
            likelier = _Mass(above)
            is_taken &= (likelier.total < self._limits) | (likelier.total <= 0)
            self._next = likelier
        chosen = picked[:, 0].masked_fill(~is_taken, _REJECTED)
        return ids.index_copy(0, torch.tensor(self._rows, device=device), chosen)

    def again(self, rejected: list[int]) -> _Draw:
        """The next draw, of these rows of the batch."""
        kept = [self._rows.index(row) for row in rejected]
        index = torch.tensor(kept, device=self._spare.device)
        self._mass = _Mass(self._next.weights[index])
        self._limits = None if self._limits is None else self._limits[index]
        self._spare = torch.empty_like(self._mass.weights)
        self._rows = rejected
        self._counters = [self._counters[row] for row in kept]
        self._attempt += 1
        return self


def uniform(seed: int, counter: int, attempt: int) -> tuple[float, float]:
    """Two numbers in [0, 1) that look random and follow from these three alone.

    A keyed hash as a counter-based generator, as Salmon et al. 2011 ("Parallel random numbers: as easy as
    1, 2, 3") build theirs on ciphers.
    """
    digest = hashlib.blake2b(
        struct.pack("<QQ", counter, attempt), key=struct.pack("<Q", seed % 2**64), digest_size=8
    ).digest()
    first, second = struct.unpack("<II", digest)
    dropped = 32 - _UNIFORM_BITS
    return (first >> dropped) / 2**_UNIFORM_BITS, (second >> dropped) / 2**_UNIFORM_BITS


def _token_scores(
    logits: torch.Tensor, ids: torch.Tensor, found: list[int], rows: Sequence[Row]
) -> list[TokenScore | None]:
    """Log-probabilities of the model itself, before penalties and temperature, as OpenAI gives them."""
    scores: list[TokenScore | None] = [None] * len(rows)
    wanted = [it.sampling.logprobs for it in rows]
    asked = [row for row, most in enumerate(wanted) if most is not None and found[row] != _BROKEN]
    if not asked:
        return scores
    index = torch.tensor(asked, device=logits.device)
    logprobs = logits[index].float().log_softmax(-1)  # [asked, vocab]
    best = logprobs.topk(min(max(wanted[row] or 0 for row in asked), logprobs.shape[1]))
    chosen = logprobs.gather(1, ids[index][:, None])
    # One copy for all: float32 holds every token id below 2^24 exactly.
    packed = torch.cat([chosen, best.values, best.indices.float()], 1).clamp_(min=_LEAST_LOGPROB).tolist()
    for row, (logprob, *more) in zip(asked, packed, strict=True):
        values, token_ids = more[: len(more) // 2], more[len(more) // 2 :]
        top = zip(map(int, token_ids), values, strict=True)
        scores[row] = TokenScore(logprob, tuple(top)[: wanted[row]])
    return scores
