"""What the chunker, the word index and the support check reach, as the answering benchmark lists it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from engine.bench import chunk_part, chunk_peers, chunk_texts, knowledge_part, knowledge_texts, support_part
from engine.bench.answering_rows import PART
from engine.bench.figures import CANNOT_RUN
from engine.bench.row import Row
from engine.bench.searchers import OURS as OUR_BM25
from engine.search.embedder import Embedder

_REPEATS = 3
_WINDOW, _OVERLAP, _MEGABYTES, _PASSAGES = 256, 64, 1.0, 10_000
_CHUNKER = {
    chunk_part.OVER_TOKENIZERS: 0.75,
    chunk_part.OVER_TIKTOKEN: None,
    chunk_part.OVER: 0,
    chunk_part.WRONG: 0,
}
# Times as long as bm25s, and as long for ten times the passages.
_LEXICAL = {
    knowledge_part.BUILD_SHARE: 2.0,
    knowledge_part.QUERY_SHARE: 2.0,
    knowledge_part.BUILD_GROWTH: None,
    knowledge_part.QUERY_GROWTH: None,
}
_SUPPORT = {"recall": 0.8, "false alarms": 0.05, "recall, written": None, "false alarms, written": None}


def measure(data: Path, embedder: Embedder, say: Callable[[str], None]) -> Iterator[Row]:
    """Ours, beside what the peers need where that is the figure."""
    say("  windows")
    pages = chunk_texts.collect(data, _MEGABYTES)
    budget = chunk_peers.Budget(chunk_texts.train(pages), _WINDOW, _OVERLAP)
    yield from _of(chunk_part.measure(pages, budget, _REPEATS, say), "windows of 256 tokens", _CHUNKER)
    say("  word index")
    texts = knowledge_texts.collect(data, knowledge_part.GROWTH * _PASSAGES)
    yield from _of(knowledge_part.measure(texts, _REPEATS, say), "word index, 10,000 passages", _LEXICAL)
    say("  support check")
    held_out = [row for row in support_part.measure(embedder) if row.contestant == "held out"]
    yield from _of(held_out, "support check, held out", _SUPPORT)


def _of(rows: list[Row], task: str, wanted: Mapping[str, float | None]) -> Iterator[Row]:
    """The wanted figures of ours with their targets; who could not be measured is told."""
    for row in rows:
        if row.metric == CANNOT_RUN:
            yield row
        elif row.metric in wanted and _is_ours(row):
            target = wanted[row.metric]
            extras = row.extras if target is None else (*row.extras, ("target", target))
            yield replace(row, part=PART, model=task, contestant="ours", extras=extras)


def _is_ours(row: Row) -> bool:
    return row.contestant in {chunk_peers.OURS, OUR_BM25, "held out"}
