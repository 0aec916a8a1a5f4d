"""The index: search over one version of the documents, in memory. Knows no Redis."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.documents import Passage
from engine.embedder import Embedder
from engine.filter import find, normalise
from engine.lexical import BM25
from engine.types import ChatTurn, Citation


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage and how well it fits: `score` in [0, 1]."""

    passage: Passage
    score: float

    def citation(self) -> Citation:
        """The whole passage as a quotation."""
        passage = self.passage
        return Citation(passage.document, passage.heading, passage.start, passage.end, passage.text)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: hits best first, and in [0, 1] how sure it is that the first answers."""

    hits: tuple[Hit, ...]
    confidence: float


class Index:
    """Search over one version of the documents. Built once, never changed."""

    def __init__(self, version: int, found: Sequence[Passage], embedder: Embedder | None) -> None:
        self.version, self.passages = version, found
        self._embedder = embedder
        self._bm25 = BM25([f"{passage.heading}\n{passage.text}" for passage in found])
        self.contacts = frozenset(
            normalise(finding.entity, passage.text[finding.start : finding.end])
            for passage in found
            for finding in find(passage.text)
        )
        """The team's own addresses and numbers, which the filter lets through on the way out."""
        self._vectors = np.zeros((0, 0), np.float32)  # [texts, width]
        self._owners = np.zeros(0, np.int64)  # [texts]: which passage a vector belongs to
        self._bodies = np.zeros(0, np.int64)  # [passages]: which vector is the body's

    def add_vectors(self, vectors: NDArray[np.float32], owners: NDArray[np.int64]) -> None:
        """Vectors of `embedded_texts`, in that order."""
        self._vectors, self._owners = vectors, owners
        # The body's text is the last of a passage's.
        self._bodies = np.searchsorted(owners, np.arange(len(self.passages)), side="right") - 1

    def embedded_texts(self) -> tuple[list[str], NDArray[np.int64]]:
        """Every text worth a vector, and the row of its passage: its questions, and its body."""
        texts, owners = [], []
        for row, passage in enumerate(self.passages):
            for text in (*passage.questions, f"{passage.heading}\n{passage.text}"):
                texts.append(text)
                owners.append(row)
        return texts, np.array(owners, dtype=np.int64)

    def search(
        self,
        question: str,
        earlier: Sequence[ChatTurn] = (),
        *,
        scope: str = "",
        without: Collection[str] = (),
        limit: int = 3,
    ) -> Found:
        """The passages that fit best, best first. Scores are comparable between questions.

        Parameters
          earlier: the turns before the question, oldest first
          scope: the conversation's name; documents scoped to another place are not seen
          without: ids of documents that are left out, as if they had never been learned

        A linear mix: cosine to the best of a passage's vectors, cosine to its body, and the share of the
        query's words that it has, weighted by rarity. Without an embedder the words decide alone. The
        weights were chosen on public FAQ sets and the sample pages.
        """
        if not self.passages:
            return Found((), 0.0)
        bm25, coverage = self._bm25.search(question)
        if self._embedder is None or not len(self._vectors):
            scores, ranking = coverage, coverage + 0.01 * bm25 / (bm25.max() or 1.0)
        else:
            cosines = self._vectors @ self._embedder([question])[0]
            best = np.full(len(self.passages), -1.0)
            np.maximum.at(best, self._owners, cosines)
            scores = np.clip(0.56 * best + 0.24 * cosines[self._bodies] + 0.2 * coverage, 0, 1)
            ranking = scores
        if without:
            ranking = ranking - np.array([passage.document in without for passage in self.passages]) * 2.0
        rows = [row for row in np.argsort(-ranking, kind="stable")[:limit] if ranking[row] > -1.0]
        hits = tuple(Hit(self.passages[row], float(scores[row])) for row in rows)
        return Found(hits, hits[0].score if hits else 0.0)
