"""The search benchmark: how fast an index is built and searched, its memory, and how both grow."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from engine.bench.figures import CANNOT_RUN
from engine.bench.knowledge_texts import Texts
from engine.bench.row import Row
from engine.bench.searchers import BM25S, OURS, Searcher, searchers, version

PART = "knowledge"
PASSAGES, TEXT = "passages", "text"
BUILD, QUERIES, MEMORY, PEAK = "build", "queries", "memory", "memory_peak"
BUILD_SHARE, QUERY_SHARE = "build_time_over_bm25s", "query_time_over_bm25s"
BUILD_GROWTH, QUERY_GROWTH = "build_time_growth", "query_time_growth"
# How many times as many passages the growth is measured with, and how many queries.
GROWTH = 10
_GROWTH_QUERIES = 200
_MEGABYTE = 1e6

Times = tuple[float, float]
"""Processor seconds of building, and of one query."""


def measure(texts: Texts, repeats: int, say: Callable[[str], None]) -> list[Row]:
    """Every figure, as rows. One thread; processor time, which other guests of the machine change least.

    Parameters
      texts: a tenth of the passages is the set that everything is measured on, all of them show the growth
      repeats: of which the medians are taken
    """
    count = len(texts.passages) // GROWTH
    passages, queries = texts.passages[:count], texts.queries
    able, unable = searchers()
    rows = [Row(CANNOT_RUN, None, "", PART, contestant=name, reason=why) for name, why in unable.items()]
    rows.append(Row(PASSAGES, len(passages), "", PART))
    rows.append(Row(TEXT, sum(map(len, passages)) / _MEGABYTE, "million characters", PART))
    for build in able.values():  # what is loaded at the first use shall not count
        _time(build, passages[:100], queries[:10])
    times = _interleaved(able, passages, queries, repeats, say)
    for name, each in times.items():
        rows += _speed(name, each)
    rows += _compared(times)
    for name, build in able.items():
        say(f"  memory  {name}")
        rows += _memory(name, build, passages)
    few = queries[:_GROWTH_QUERIES]
    for name, build in able.items():
        say(f"  {len(texts.passages):,} passages  {name}")
        small, large = _time(build, passages, few), _time(build, texts.passages, few)
        rows.append(_row(name, BUILD_GROWTH, large[0] / small[0], "times"))
        rows.append(_row(name, QUERY_GROWTH, large[1] / small[1], "times"))
    return rows


def _interleaved(
    able: Mapping[str, Searcher],
    passages: Sequence[str],
    queries: Sequence[str],
    repeats: int,
    say: Callable[[str], None],
) -> dict[str, list[Times]]:
    """Each in turn, then all again, so that noise hits all alike."""
    times: dict[str, list[Times]] = {name: [] for name in able}
    for repeat in range(repeats):
        for name, build in able.items():
            times[name].append(_time(build, passages, queries))
            seconds, query = times[name][-1]
            say(f"  repeat {repeat + 1}  {name}  built in {seconds:.2f} s, {1 / query:,.0f} queries/s")
    return times


def _time(build: Searcher, passages: Sequence[str], queries: Sequence[str]) -> Times:
    gc.collect()
    begun = time.process_time()
    search = build(passages)
    built = time.process_time()
    for query in queries:
        search(query)
    return built - begun, (time.process_time() - built) / len(queries)


def _speed(name: str, times: Sequence[Times]) -> list[Row]:
    builds, rates = [build for build, _ in times], [1 / query for _, query in times]
    return [
        _row(name, BUILD, median(builds), "s", builds),
        _row(name, QUERIES, median(rates), "/s", rates),
    ]


def _compared(times: Mapping[str, Sequence[Times]]) -> list[Row]:
    """How many times as long our BM25 takes as bm25s; nothing where that was not measured."""
    if BM25S not in times:
        return []
    ours, theirs = ([median(column) for column in zip(*times[name], strict=True)] for name in (OURS, BM25S))
    return [
        _row(OURS, BUILD_SHARE, ours[0] / theirs[0], "times"),
        _row(OURS, QUERY_SHARE, ours[1] / theirs[1], "times"),
    ]


def _memory(name: str, build: Searcher, passages: Sequence[str]) -> list[Row]:
    """What the index holds, and the most that building it took; measured apart, as it slows building."""
    tracemalloc.start()
    try:
        index = build(passages)
        held, peak = tracemalloc.get_traced_memory()
        del index
    finally:
        tracemalloc.stop()
    return [_row(name, MEMORY, held / _MEGABYTE, "MB"), _row(name, PEAK, peak / _MEGABYTE, "MB")]


def _row(name: str, metric: str, value: float, unit: str, values: Sequence[float] = ()) -> Row:
    extras = (("version", found),) if (found := version(name)) else ()
    return Row(metric, value, unit, PART, contestant=name, values=tuple(values), extras=extras)
