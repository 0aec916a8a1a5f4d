"""Who takes part in the chunker benchmark: ours, and other packages as their documentation shows them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from tokenizers import Tokenizer

from engine.bench.contestant import CannotRun
from engine.chunker import windows
from engine.encoding.encoder import encoder_for

OURS = "ours"
# They only encode: what a chunker can be measured against.
TOKENIZERS, TIKTOKEN = "tokenizers alone", "tiktoken alone"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a text; `start` is None where the chunker does not tell it."""

    text: str
    start: int | None = None


Chunker = Callable[[str], Sequence[Chunk]]


@dataclass(frozen=True, slots=True)
class Budget:
    """What chunkers are given: a tokenizer, and tokens of a chunk and of an overlap."""

    tokenizer: Tokenizer
    size: int
    overlap: int

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


def make(name: str, budget: Budget) -> Chunker:
    """A chunker of `NAMES` that has seen nothing yet. Raises `CannotRun` when its package is missing."""
    return _MAKERS[name](budget)


def encoders(budget: Budget) -> dict[str, Callable[[str], object]]:
    """The tokenizer alone, and tiktoken with the same vocabulary where it can be had."""
    encoder = encoder_for(budget.tokenizer)
    alone: dict[str, Callable[[str], object]] = {
        TOKENIZERS: lambda text: budget.tokenizer.encode(text, add_special_tokens=False)
    }
    return {**alone, TIKTOKEN: encoder.ids} if encoder.backend == "tiktoken" else alone


def package_of(name: str) -> str:
    """The name and version of another's package; "" for ours."""
    first = name.partition(" ")[0]
    package = _PACKAGES.get(first, first)
    return "" if package == OURS else f"{package} {metadata.version(package)}"


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CannotRun("not installed: pip install 'frontdesk[bench]'") from error


def _ours(budget: Budget) -> Chunker:
    def chunk(text: str) -> list[Chunk]:
        slid = windows(text, budget.tokenizer, budget.size, budget.overlap)
        return [Chunk(text[window.start : window.end], window.start) for window in slid]

    return chunk


def _langchain(budget: Budget) -> Chunker:
    splitter = _package("langchain_text_splitters").RecursiveCharacterTextSplitter(
        chunk_size=budget.size,
        chunk_overlap=budget.overlap,
        length_function=budget.count,
        add_start_index=True,
    )

    def chunk(text: str) -> list[Chunk]:
        made = splitter.create_documents([text])
        return [Chunk(each.page_content, each.metadata["start_index"]) for each in made]

    return chunk


def _langchain_tokens(budget: Budget) -> Chunker:
    package = _package("langchain_text_splitters.base")
    tokenizer = package.Tokenizer(
        chunk_overlap=budget.overlap,
        tokens_per_chunk=budget.size,
        decode=budget.tokenizer.decode,
        encode=lambda text: budget.tokenizer.encode(text, add_special_tokens=False).ids,
    )
    return lambda text: [Chunk(each) for each in package.split_text_on_tokens(text=text, tokenizer=tokenizer)]


def _chonkie(kind: str, **options: int) -> Callable[[Budget], Chunker]:
    def make(budget: Budget) -> Chunker:
        given = {option: getattr(budget, value) for option, value in _CHONKIE_OPTIONS[kind].items()}
        chunker = getattr(_package("chonkie"), kind)(tokenizer=budget.tokenizer, **given, **options)
        return lambda text: [Chunk(each.text, each.start_index) for each in chunker(text)]

    return make


# The recursive one has no overlap.
_CHONKIE_OPTIONS = {
    "TokenChunker": {"chunk_size": "size", "chunk_overlap": "overlap"},
    "SentenceChunker": {"chunk_size": "size", "chunk_overlap": "overlap"},
    "RecursiveChunker": {"chunk_size": "size"},
}


def _semchunk(budget: Budget) -> Chunker:
    # A function of its own: it remembers counts by function, also over several of its chunkers.
    chunker = _package("semchunk").chunkerify(lambda text: budget.count(text), budget.size)

    def chunk(text: str) -> list[Chunk]:
        texts, spans = chunker(text, offsets=True, overlap=budget.overlap or None)
        return [Chunk(each, start) for each, (start, _) in zip(texts, spans, strict=True)]

    return chunk


def _semantic(kind: str) -> Callable[[Budget], Chunker]:
    def make(budget: Budget) -> Chunker:
        splitter = getattr(_package("semantic_text_splitter"), kind).from_huggingface_tokenizer(
            budget.tokenizer, budget.size, budget.overlap
        )
        return lambda text: [Chunk(each, start) for start, each in splitter.chunk_indices(text)]

    return make


_MAKERS: dict[str, Callable[[Budget], Chunker]] = {
    OURS: _ours,
    "langchain recursive": _langchain,
    "langchain tokens": _langchain_tokens,
    "chonkie tokens": _chonkie("TokenChunker"),
    "chonkie sentences": _chonkie("SentenceChunker"),
    "chonkie recursive": _chonkie("RecursiveChunker"),
    "semchunk": _semchunk,
    "semantic text": _semantic("TextSplitter"),
    "semantic markdown": _semantic("MarkdownSplitter"),
}
_PACKAGES = {"langchain": "langchain-text-splitters", "semantic": "semantic-text-splitter"}
NAMES = tuple(_MAKERS)
