"""What in a customer's texts fits a question: windows to read, and sentences to quote with their fit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.reading.long_text import LongText, Stretch
from engine.search.bm25 import BM25
from engine.search.embedder import Embedder
from engine.search.ranking import rank_windows
from engine.types import TextFile

# Tokens of one window: small enough that a fact is not lost in it, large enough to be understood alone.
WINDOW_TOKENS = 256
_OVERLAP_SHARE = 4
_CUT_AT_ONCE = 500
BUDGET_TOKENS = 32 * WINDOW_TOKENS
"""What a model reads of the texts for one question."""
# Windows that are read however they score, and from which score on others are, as a share of the best.
_READ_ANYWAY = 8
_WORTH_READING = 0.5
# Sentences that are looked at one by one; the embedder needs some 3 ms for each on a CPU.
_MOST_SENTENCES = 128
# A heading, or a question in a list of answered ones; its answer fits almost as well.
_TITLE = re.compile(r"^#{1,6}\s|[?？][*_\"”»]*$")
_ANSWERED = 0.95
# A text whose best sentence fits the question less than this does not answer it, see `fits_of`.
_FITS = 0.35
# Of MiniLM and words in equal parts the first sentence was right most often, on articles with known answers.
_WEIGHT_OF_MEANING = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found for a question."""

    texts: tuple[LongText, ...]
    windows: tuple[Stretch, ...]
    """What is worth reading within the budget, best first."""
    sentences: tuple[tuple[Stretch, float], ...]
    """Sentences of the best windows with their fit in [0, 1], best first."""

    @property
    def fit(self) -> float:
        """How well the best sentence fits the question, in [0, 1]; compare it with `fits_of` other texts."""
        return self.sentences[0][1] if self.sentences else 0.0

    @property
    def answers(self) -> bool:
        """Whether the texts say anything about the question."""
        return self.fit >= _FITS


async def gather(
    question: str,
    files: Sequence[TextFile],
    tokenizer: Any,
    embedder: Embedder | None = None,
    *,
    window: int = WINDOW_TOKENS,
    budget: int = BUDGET_TOKENS,
) -> Evidence:
    """Slide over the texts and choose the windows that matter for the question, in threads.

    Words decide over all windows, meaning over the best few dozen, so that 10 MB take seconds.

    Parameters
      window: tokens of a window
      budget: tokens that may be read, in whole windows
    """
    texts = tuple(LongText(file.name, file.text) for file in files)
    cut: list[Stretch] = []
    for text in texts:
        ahead = text.windows(tokenizer, window, window // _OVERLAP_SHARE)
        # A few at a time: a thread cannot be stopped, and whoever closes this shall not keep it busy.
        while found := await asyncio.to_thread(list, islice(ahead, _CUT_AT_ONCE)):
            cut += found
    return await asyncio.to_thread(_choose, question, texts, cut, embedder, max(1, budget // window))


def _choose(
    question: str,
    texts: tuple[LongText, ...],
    cut: Sequence[Stretch],
    embedder: Embedder | None,
    most: int,
) -> Evidence:
    scores = rank_windows(question, [window.text for window in cut], embedder)
    order = np.argsort(-scores, kind="stable")[:most]
    least = _WORTH_READING * scores.max(initial=0.0)
    chosen = [cut[row] for place, row in enumerate(order) if place < _READ_ANYWAY or scores[row] >= least]
    found = list(dict.fromkeys(one for window in chosen[:_READ_ANYWAY] for one in window.sentences()))
    fits = _quotable(found[:_MOST_SENTENCES], question, embedder)
    best = sorted(fits.items(), key=lambda item: -item[1])
    return Evidence(texts, tuple(chosen), tuple(best))


def _quotable(found: Sequence[Stretch], question: str, embedder: Embedder | None) -> dict[Stretch, float]:
    """What may be an answer, with its fit. A heading or a question is none: it speaks for what follows."""
    fits = fits_of(question, [sentence.text for sentence in found], embedder)
    quotable: dict[Stretch, float] = {}
    above = 0.0
    for sentence, fit in zip(found, fits, strict=True):
        if _TITLE.search(sentence.text):
            above = _ANSWERED * float(fit)
        else:
            quotable[sentence] = max(float(fit), above)
            above = 0.0
    return quotable


def fits_of(question: str, said: Sequence[str], embedder: Embedder | None) -> NDArray[np.float64]:
    """How well each sentence fits the question: `[sentences]`, in [0, 1], comparable between questions."""
    if not said:
        return np.zeros(0)
    coverage = BM25(said).search(question)[1]
    if embedder is None:
        return np.asarray(coverage, np.float64)
    vectors = embedder([question, *said])
    cosines = np.clip(vectors[1:] @ vectors[0], 0, 1)
    return np.asarray(_WEIGHT_OF_MEANING * cosines + (1 - _WEIGHT_OF_MEANING) * coverage, np.float64)
