"""From runs to figures: what is reported of a contestant at one concurrency, and ratios between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from engine.bench import roster
from engine.bench.row import Row
from engine.bench.run import Run

THROUGHPUT, DECODE, PREFILL = "throughput", "decode_throughput", "prefill_throughput"
FIRST_TOKEN, BETWEEN_P50, BETWEEN_P99 = "first_token", "between_tokens_p50", "between_tokens_p99"
BANDWIDTH_SHARE, PEAK_MEMORY, CANNOT_RUN = "bandwidth_share", "peak_memory", "cannot_run"
# Bytes of one weight. int8 is counted as if every weight were a byte, scales and norms left out.
_WEIGHT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "int8_float16": 1}


def rows_of(base: Row, runs: Sequence[Run], prompt_tokens: int) -> list[Row]:
    """Medians over the repeats, as rows like `base`. Tokens a second and milliseconds."""

    def row(metric: str, unit: str, values: list[float]) -> Row:
        return replace(base, metric=metric, unit=unit, value=median(values), values=tuple(values))

    rows = [
        row(THROUGHPUT, "tokens/s", [run.tokens / run.seconds for run in runs]),
        row(PREFILL, "tokens/s", [len(run.times) * prompt_tokens / run.prefill_seconds for run in runs]),
        row(FIRST_TOKEN, "ms", [1000 * median(each[0] for each in run.times) for run in runs]),
    ]
    if all(run.decode_tokens for run in runs):
        gaps = [sorted(gaps_of(run)) for run in runs]
        rows += [
            row(DECODE, "tokens/s", [run.decode_tokens / run.decode_seconds for run in runs]),
            row(BETWEEN_P50, "ms", [1000 * quantile(each, 0.5) for each in gaps]),
            row(BETWEEN_P99, "ms", [1000 * quantile(each, 0.99) for each in gaps]),
        ]
    return rows


def gaps_of(run: Run) -> list[float]:
    """Seconds between one token and the next, of all prompts."""
    return [later - earlier for each in run.times for earlier, later in pairwise(each)]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def bandwidth_shares(rows: Iterable[Row], step_weights: int, bandwidth: float) -> list[Row]:
    """Percent of the limit at batch 1: bytes of weights a step, times steps a second, by bytes a second."""
    shares = []
    for row in rows:
        if row.metric != DECODE or row.concurrency != 1 or row.value is None:
            continue
        size = step_weights * _WEIGHT_BYTES[roster.precision_of(row.contestant)]
        values = tuple(100 * size * value / bandwidth for value in row.values)
        share = replace(row, metric=BANDWIDTH_SHARE, unit="%", value=median(values), values=values)
        shares.append(replace(share, extras=(("step_bytes", size),)))
    return shares


def ratios(rows: Sequence[Row]) -> list[Row]:
    """How many times as fast each of ours is as the best CTranslate2 mode and as continuous batching."""
    found = []
    for row in rows:
        if row.metric not in (THROUGHPUT, DECODE) or roster.family_of(row.contestant) != roster.OURS:
            continue
        for family in (roster.CTRANSLATE2, roster.CONTINUOUS):
            theirs = [
                other.value
                for other in rows
                if (other.model, other.concurrency, other.metric) == (row.model, row.concurrency, row.metric)
                and roster.family_of(other.contestant) == family
                and other.value
            ]
            if theirs and row.value is not None:
                ratio = row.value / max(theirs)
                metric = f"{row.metric}_over_{family}"
                found.append(replace(row, metric=metric, unit="×", value=ratio, values=(), extras=()))
    return found


def skipped(model: str, contestant: str, part: str, reason: str) -> Row:
    """The row of who cannot run."""
    return Row(CANNOT_RUN, None, "", part=part, model=model, contestant=contestant, reason=reason)
