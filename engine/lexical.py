"""Words: how a text becomes terms, and BM25 over them."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "i",
        "you",
        "he",
        "she",
        "it",
        "we",
        "they",
        "me",
        "him",
        "her",
        "us",
        "them",
        "my",
        "your",
        "his",
        "its",
        "our",
        "their",
        "this",
        "that",
        "these",
        "those",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "am",
        "do",
        "does",
        "did",
        "done",
        "have",
        "has",
        "had",
        "having",
        "will",
        "would",
        "can",
        "could",
        "shall",
        "should",
        "may",
        "might",
        "must",
        "to",
        "of",
        "in",
        "on",
        "at",
        "by",
        "for",
        "from",
        "with",
        "about",
        "as",
        "into",
        "than",
        "then",
        "there",
        "here",
        "and",
        "or",
        "but",
        "if",
        "so",
        "not",
        "no",
        "nor",
        "what",
        "which",
        "who",
        "whom",
        "how",
        "when",
        "where",
        "why",
        "please",
        "just",
        "very",
        "too",
        "also",
        "any",
        "some",
        "all",
        "get",
        "got",
    ]
)


def terms(text: str) -> list[str]:
    """The words of `text`, lower-cased and lightly stemmed (plural, -ing, -ed), in order."""
    return [_stem(word) for word in _WORD.findall(text.lower())]


def content_terms(text: str) -> list[str]:
    """`terms` without the words that every text has."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP]


def _stem(word: str) -> str:
    word = re.sub(r"['’]\w*$", "", word)
    for suffix, replacement in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            return word[: -len(suffix)] + replacement
    return word


class BM25:
    """BM25 (Robertson & Zaragoza 2009) with k1 = 1.2 and b = 0.75 over an inverted index."""

    def __init__(self, texts: Sequence[str], k1: float = 1.2, b: float = 0.75) -> None:
        counts = [Counter(content_terms(text)) for text in texts]
        lengths = [sum(count.values()) for count in counts]
        mean = (sum(lengths) / len(lengths) if lengths else 1.0) or 1.0
        postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for row, count in enumerate(counts):
            norm = k1 * (1 - b + b * lengths[row] / mean)
            for term, frequency in count.items():
                postings[term].append((row, frequency * (k1 + 1) / (frequency + norm)))
        self._size = len(texts)
        self._rows = {term: np.array([row for row, _ in rows]) for term, rows in postings.items()}
        self._weights = {term: np.array([weight for _, weight in rows]) for term, rows in postings.items()}

    def idf(self, term: str) -> float:
        """How rare a term is; a term never seen is the rarest."""
        found = len(self._rows.get(term, ()))
        return math.log(1 + (self._size - found + 0.5) / (found + 0.5))

    def search(self, query: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores `[texts]`, and the share in [0, 1] of the query's weight that each text covers `[texts]`."""
        scores, covered, total = np.zeros(self._size), np.zeros(self._size), 0.0
        for term in set(content_terms(query)):
            idf = self.idf(term)
            total += idf
            if (rows := self._rows.get(term)) is not None:
                scores[rows] += idf * self._weights[term]
                covered[rows] += idf
        return scores, covered / total if total else covered
