"""Who takes part in the search benchmark: ours, and bm25s. All on one thread."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Protocol

import numpy as np

from engine.bench.contestant import CannotRun
from engine.search.bm25 import BM25
from engine.search.ngrams import CharNGrams

# Texts that a search returns.
TOP = 10
OURS, OURS_NGRAMS, BM25S = "ours-bm25", "ours-ngrams", "bm25s"

Search = Callable[[str], object]


class Searcher(Protocol):
    """Indexes texts: the result finds the best ten for a query."""

    def __call__(self, texts: Sequence[str]) -> Search: ...


def searchers() -> tuple[dict[str, Searcher], dict[str, str]]:
    """Those that can take part by name, and for the others the reason why not."""
    able: dict[str, Searcher] = {OURS: _ours, OURS_NGRAMS: _ours_ngrams}
    try:
        return {**able, BM25S: _bm25s()}, {}
    except CannotRun as reason:
        return able, {BM25S: str(reason)}


def version(name: str) -> str:
    """Of another's package; "" for ours."""
    return metadata.version(name) if name == BM25S else ""


def _ours(texts: Sequence[str]) -> Search:
    index = BM25(texts)
    return lambda query: index.top(query, TOP)


def _ours_ngrams(texts: Sequence[str]) -> Search:
    index = CharNGrams(texts)

    def search(query: str) -> object:
        likeness = index.search(query)
        best = np.argpartition(-likeness, min(TOP, len(likeness) - 1))[:TOP]
        return best[np.argsort(-likeness[best], kind="stable")]

    return search


def _bm25s() -> Searcher:
    """With English stop words, and no stemmer: as its documentation begins."""
    try:
        package = importlib.import_module(BM25S)
    except ImportError as error:
        raise CannotRun("not installed: pip install 'frontdesk[bench]'") from error
    logging.getLogger(BM25S).setLevel(logging.WARNING)  # it tells every step otherwise

    def build(texts: Sequence[str]) -> Search:
        index = package.BM25()
        index.index(package.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
        count = min(TOP, len(texts))

        def search(query: str) -> object:
            tokens = package.tokenize([query], stopwords="en", return_ids=False, show_progress=False)
            return index.retrieve(tokens, k=count, n_threads=0, show_progress=False)

        return search

    return build
