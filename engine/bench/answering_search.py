"""Our index and plain searches asked the same questions: who finds the right entry, who knows when not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.bench.answering_rows import EXACT, HIT, OURS, area, share
from engine.bench.answering_sets import Task
from engine.bench.row import Row
from engine.library.documents import Passage, passages
from engine.search.bm25 import BM25
from engine.search.embedder import Embedder
from engine.search.index import Index

Answer = tuple[str, float]
"""The document that comes first, and how sure the search is of it."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What each search found for every question of a task, and which of our citations are exact."""

    task: Task
    of: dict[str, list[Answer]]
    exact: list[bool]

    def right(self, who: str) -> list[bool]:
        """Whether each question that something answers got it."""
        return [
            document in asked.gold
            for asked, (document, _) in zip(self.task.asked, self.of[who], strict=True)
            if self.task.is_known(asked)
        ]

    def hits(self, target: float | None) -> Iterator[Row]:
        """Right entries first, of ours and of the plain searches."""
        for who in self.of:
            yield share(self.task.name, who, HIT, self.right(who), target if who == OURS else None)

    def abstaining(self, name: str, target: float) -> Iterator[Row]:
        """How well each search's own score tells known questions from unknown ones."""
        for who, answers in self.of.items():
            known: list[float] = []
            unknown: list[float] = []
            for asked, (_, sure) in zip(self.task.asked, answers, strict=True):
                (known if self.task.is_known(asked) else unknown).append(sure)
            yield area(name, who, known, unknown, target if who == OURS else None)


def index_of(found: Sequence[Passage], embedder: Embedder | None) -> Index:
    """An index over passages, with vectors where there is an embedder."""
    index = Index(0, found, embedder)
    if embedder is not None:
        texts, owners = index.embedded_texts()
        index.add_vectors(embedder.embed(texts), owners)
    return index


def search(task: Task, embedder: Embedder, *, turns: int = 0) -> Answers:
    """Ask everybody.

    Parameters
      turns: how many earlier turns the plain searches read together with the question
    """
    found = [passage for document in task.documents for passage in passages(document)]
    queries = [
        "\n".join([*(t.content for t in asked.earlier[-turns:] if turns), asked.text]) for asked in task.asked
    ]
    ours, exact = _ours(task, found, embedder)
    seen = [passage for passage in found if passage.document not in task.withheld]
    return Answers(
        task,
        {
            OURS: ours,
            "MiniLM": _plain_meaning([p.questions or (p.text,) for p in seen], seen, queries, embedder),
            "MiniLM + answer": _plain_meaning(
                [("\n".join([*p.questions[:1], p.text]),) for p in seen], seen, queries, embedder
            ),
            "BM25": _plain_words(seen, queries),
        },
        exact,
    )


def exactness(answers: Sequence[Answers]) -> Row:
    """Of every answer of every task: whether the quotation is the document's text at its offsets."""
    return share("citations", OURS, EXACT, [one for each in answers for one in each.exact], 1.0)


def _ours(task: Task, found: list[Passage], embedder: Embedder) -> tuple[list[Answer], list[bool]]:
    texts = {document.id: document.text for document in task.documents}
    index = index_of(found, embedder)
    embedder.embed([asked.text for asked in task.asked])  # many at a time are faster
    answers, exact = [], []
    for asked in task.asked:
        result = index.search(asked.text, asked.earlier, without=task.withheld)
        citation = result.hits[0].citation()
        answers.append((citation.document, result.confidence))
        exact.append(texts[citation.document][citation.start : citation.end] == citation.quote != "")
    return answers, exact


def _plain_meaning(
    texts_of: Sequence[Sequence[str]],
    found: Sequence[Passage],
    queries: Sequence[str],
    embedder: Embedder,
) -> list[Answer]:
    """Cosine to the nearest text of a passage, its entity in front."""
    texts, owners = [], []
    for passage, known in zip(found, texts_of, strict=True):
        for text in known:
            texts.append(f"{passage.entity}\n{text}" if passage.entity else text)
            owners.append(passage.document)
    vectors, asked = embedder.embed(texts), embedder.embed(queries)
    return _best(owners, lambda row: np.asarray(vectors @ asked[row], np.float64), len(queries))


def _plain_words(found: Sequence[Passage], queries: Sequence[str]) -> list[Answer]:
    bm25 = BM25(["\n".join([p.entity, *(p.questions or ()), p.text]) for p in found])
    return _best([p.document for p in found], lambda row: bm25.search(queries[row])[0], len(queries))


def _best(owners: Sequence[str], scores_of: Callable[[int], NDArray[np.float64]], count: int) -> list[Answer]:
    answers = []
    for row in range(count):
        scores = scores_of(row)
        best = int(scores.argmax())
        answers.append((owners[best], float(scores[best])))
    return answers
