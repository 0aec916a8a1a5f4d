"""What the chunker benchmark reads: markdown pages, and a tokenizer trained on them on the spot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from engine.errors import BadRequest

SAMPLE_PAGES = Path(__file__).parents[1] / "data" / "pages"
_VOCABULARY = 32_000
_MEGABYTE = 1_000_000


def collect(data: Path | None, megabytes: float) -> list[str]:
    """Markdown pages, again from the first when there are too few, until they are so many megabytes.

    Parameters
      data: a folder with markdown files, or with JSONL files whose rows have `text` and a `path` or `id`
        that ends with `.md`. None: the sample pages.

    Raises `BadRequest` when there are none.
    """
    pages = [page for page in _pages(data or SAMPLE_PAGES) if page]
    if not pages:
        raise BadRequest(f"{data} has no markdown: files named .md, or JSONL rows with text and such a path")
    chosen, size = list[str](), 0
    for page in cycle(pages):
        chosen.append(page)
        size += len(page.encode())
        if size >= megabytes * _MEGABYTE:
            return chosen
    raise AssertionError("a cycle has no end")


def _pages(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.md")):
        yield path.read_text(encoding="utf-8")
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if str(row.get("path") or row.get("id")).endswith(".md"):
                    yield row.get("text") or ""


def train(pages: Sequence[str]) -> Tokenizer:
    """A byte-level BPE with at most 32,000 tokens, as GPT-2's but for the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=_VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(dict.fromkeys(pages), trainer)
    return tokenizer
