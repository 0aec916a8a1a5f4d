"""What the search benchmark reads: passages of help pages, and questions to find them by."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BadRequest
from engine.library.documents import Document, passages
from engine.library.lesson import SAMPLE_PAGES

_MOST_QUERIES = 1_000
# Words of a query that is cut out of a passage, where the data has no questions of its own.
_QUERY_WORDS = 8


@dataclass(frozen=True, slots=True)
class Texts:
    """Passages and queries, the same for everyone who takes part."""

    passages: Sequence[str]
    queries: Sequence[str]


def collect(data: Path | None, count: int) -> Texts:
    """`count` passages and at most 1,000 queries, always the same ones.

    Parameters
      data: a folder of JSONL files; rows with `text` are documents, rows with `query` or `last_turn` are
        queries. None: the sample pages.

    Raises `BadRequest` when the folder has no documents.
    """
    rows = list(_rows(data)) if data else []
    documents = [_document(row) for row in rows if row.get("text")] if data else list(_sample_pages())
    distinct = [f"{each.heading}\n{each.text}" for document in documents for each in passages(document)]
    if not distinct:
        raise BadRequest(f"{data} has no JSONL file with documents: rows with id and text")
    source = random.Random(0)
    enough = _multiplied(distinct, count, source)
    queries = [str(query) for row in rows if (query := row.get("query") or row.get("last_turn"))]
    if not queries:
        queries = [_span(source.choice(enough), source) for _ in range(_MOST_QUERIES)]
    return Texts(enough, source.sample(queries, min(_MOST_QUERIES, len(queries))))


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _document(row: dict[str, Any]) -> Document:
    return Document(str(row["id"]), str(row.get("title") or row["id"]), row["text"])


def _sample_pages() -> Iterator[Document]:
    for path in sorted(SAMPLE_PAGES.glob("*.md")):
        yield Document(path.name, path.stem, path.read_text(encoding="utf-8"))


def _multiplied(distinct: Sequence[str], count: int, source: random.Random) -> list[str]:
    """`count` passages: those that there are, then ones put together of two halves, hardly any twice."""
    chosen = source.sample(distinct, min(count, len(distinct)))
    while len(chosen) < count:
        first, second = source.choice(distinct), source.choice(distinct)
        chosen.append(first[: len(first) // 2] + second[len(second) // 2 :])
    return chosen


def _span(passage: str, source: random.Random) -> str:
    """Some words of a passage that follow each other."""
    words = passage.split()
    first = source.randrange(max(1, len(words) - _QUERY_WORDS))
    return " ".join(words[first : first + _QUERY_WORDS])
