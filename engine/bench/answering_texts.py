"""Long texts: is the answer in the windows that a budget allows, and is a single fact ever overlooked?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.bench.answering_rows import INSIDE, OURS, share
from engine.bench.answering_sets import Rows
from engine.bench.row import Row
from engine.search.bm25 import BM25
from engine.search.embedder import Embedder
from engine.search.ranking import rank_windows
from engine.search.selecting import Span, choose

_TOKEN = 4
"""Characters that a token counts for."""
_WINDOW, _STEP, _BUDGET = 128 * _TOKEN, 64 * _TOKEN, 512 * _TOKEN
# What a small model reads at once, and how many times as long the text is in which a fact is hidden.
_CONTEXT, _TIMES = 1024 * _TOKEN, 100
_DEPTHS = 15
_FACTS = (
    (
        "The harbour office in Lindvik closes at 16:40 on Fridays.",
        "When does the Lindvik office close on Friday?",
    ),
    ("Order 88213 was shipped in two parcels with Nordlys Freight.", "Who carried order 88213?"),
    (
        "Replacement lids for the Tarn kettle cost 7 euros.",
        "What is the price of a new lid for the Tarn kettle?",
    ),
    ("Visitors leave their bicycles behind the old bakery.", "Where can guests park a bicycle?"),
    (
        "The password of the test account is changed every 45 days.",
        "How often is the test account's password changed?",
    ),
    ("Marta Ekholm signs contracts above 20,000 crowns.", "Who must sign a contract of 30,000 crowns?"),
    (
        "The greenhouse sensors report humidity every nine minutes.",
        "How frequently do the sensors in the greenhouse send humidity?",
    ),
    (
        "Broken glassware is refunded in full if a photo is sent.",
        "Do I get my money back for broken glassware?",
    ),
)

Rank = Callable[[str, Sequence[str]], NDArray[np.float64]]


def measure(rows: Rows, embedder: Embedder) -> Iterator[Row]:
    """Articles with the place of the answer, then facts in a heap of documentation."""
    ranks = _ranks(embedder)
    yield from _articles(rows, ranks)
    yield from _needles(rows, ranks)


def _ranks(embedder: Embedder) -> dict[str, Rank]:
    return {
        OURS: lambda question, windows: rank_windows(question, windows, embedder),
        "BM25": lambda question, windows: BM25(windows).search(question)[0],
    }


def _articles(rows: Rows, ranks: dict[str, Rank]) -> Iterator[Row]:
    texts = {row["id"]: row["text"] for row in rows.read("covidqa_docs")}
    spans = {name: cut(text) for name, text in texts.items()}
    asked = rows.read("covidqa_queries")
    for who, rank in ranks.items():
        inside = []
        for row in asked:
            text, windows = texts[row["doc_id"]], spans[row["doc_id"]]
            read = _read(rank, row["last_turn"], text, windows, _BUDGET)
            inside.append(_holds(read, row["answer_start"], row["answer_end"]))
        yield share("covidqa, 512 tokens", who, INSIDE, inside, 0.8 if who == OURS else None)


def _needles(rows: Rows, ranks: dict[str, Rank]) -> Iterator[Row]:
    pages = "\n\n".join(row["text"] for row in rows.read("productdocs"))
    heap = pages[: _TIMES * _CONTEXT]
    for who, rank in ranks.items():
        inside = []
        for fact, question in _FACTS:
            for depth in np.linspace(0, 1, _DEPTHS):
                place = heap.rfind("\n", 0, int(depth * len(heap))) + 1
                text = f"{heap[:place]}{fact}\n{heap[place:]}"
                read = _read(rank, question, text, cut(text), _CONTEXT)
                inside.append(_holds(read, place, place + len(fact)))
        yield share(f"needle, {_TIMES} contexts", who, INSIDE, inside, 0.99 if who == OURS else None)


def cut(text: str) -> list[Span]:
    """Windows of 128 tokens, half overlapping, from space to space."""
    spans = []
    for start in range(0, max(1, len(text) - _STEP), _STEP):
        first = text.find(" ", start, start + _TOKEN * 10) + 1 if start else 0
        end = min(len(text), start + _WINDOW)
        last = text.rfind(" ", end - _TOKEN * 10, end) if end < len(text) else end
        spans.append((first or start, last if last > 0 else end))
    return spans


def _read(rank: Rank, question: str, text: str, windows: Sequence[Span], budget: int) -> list[Span]:
    return choose(windows, rank(question, [text[start:end] for start, end in windows]), budget)


def _holds(read: Sequence[Span], start: int, end: int) -> bool:
    return any(first <= start and end <= last for first, last in read)
