"""Documents in, passages out: markdown, text, HTML and JSONL, with exact character offsets."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import UnreadableDocument

SUFFIXES = frozenset({".md", ".markdown", ".txt", ".html", ".htm", ".jsonl"})
MAX_BYTES = 10 * 1024 * 1024
# Passages of about this many characters: a few paragraphs, within what the embedder reads (256 tokens).
_PASSAGE_CHARACTERS = 1000

_HEADING = re.compile(r"^(#{1,6})[ \t]+(\S.*?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"\S.*?(?=\n[ \t]*\n|\Z)", re.DOTALL)
_SENTENCE = re.compile(r"\S.*?(?:[.!?。！？](?=\s|$)|(?<=[。！？])|\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Document:
    """A learned text. Offsets of passages and citations count characters of `text`."""

    id: str
    title: str
    text: str
    source: str = ""
    question: str = ""
    """Set for a FAQ entry, whose `text` is the answer."""
    aliases: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Changes whenever the content does."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Document:
        fields = json.loads(text)
        return cls(**{**fields, "aliases": tuple(fields["aliases"])})


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that can answer a question: `text` is `document.text[start:end]`."""

    document: str
    heading: str
    start: int
    end: int
    text: str
    questions: tuple[str, ...] = ()
    """What it is known to answer: the last heading, or a FAQ entry's question and aliases."""


def read_documents(path: Path) -> Iterator[Document]:
    """All documents of one file; its name is the id, but for JSONL, whose lines bring their own.

    Raises `UnreadableDocument` with the reason.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UnreadableDocument(f"{path.suffix or 'no suffix'} is none of {', '.join(sorted(SUFFIXES))}")
    if path.stat().st_size > MAX_BYTES:
        raise UnreadableDocument(f"larger than {MAX_BYTES // 1024 // 1024} MB")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableDocument("no text in UTF-8") from error
    if "\0" in text:
        raise UnreadableDocument("binary, no text")
    if not text.strip():
        raise UnreadableDocument("empty")
    source = str(path.resolve())
    match path.suffix.lower():
        case ".jsonl":
            yield from _read_jsonl(text, source)
        case ".html" | ".htm":
            yield _read_html(text, path, source)
        case _:
            title = _HEADING.search(_without_fences(text))
            yield Document(path.name, title[2] if title else path.stem, text, source)


def _read_html(text: str, path: Path, source: str) -> Document:
    import trafilatura  # half a second to import, and few files are HTML

    extracted = trafilatura.extract(text, output_format="markdown", include_tables=True)
    if not extracted:
        raise UnreadableDocument("no text found in the HTML")
    metadata = trafilatura.extract_metadata(text)
    return Document(path.name, (metadata and metadata.title) or path.stem, extracted, source)


def _read_jsonl(text: str, source: str) -> Iterator[Document]:
    for number, line in enumerate(text.split("\n"), 1):  # JSON strings may hold other line ends
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "question" in row:
                question, answer = _text(row, "question"), _text(row, "answer")
                aliases = tuple(map(str, row.get("aliases") or ()))
                yield Document(str(row["id"]), question, answer, source, question, aliases)
            else:
                yield Document(str(row["id"]), str(row.get("title") or row["id"]), _text(row, "text"), source)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableDocument(
                f"line {number}: expected an object with id, question and answer, or id, title and text"
            ) from error


def _text(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{name} is no text")
    return value


def passages(document: Document) -> Iterator[Passage]:
    """Cut a document into passages: a FAQ answer whole, else by headings, then paragraphs."""
    if document.question:
        known = (document.question, *document.aliases)
        yield Passage(document.id, document.question, 0, len(document.text), document.text, known)
        return
    for path, start, end in _sections(document):
        heading = " › ".join(path)
        for first, last in _pieces(document.text, start, end):
            # A page's title is no question that its introduction answers.
            questions = tuple(path[1:][-1:])
            yield Passage(document.id, heading, first, last, document.text[first:last], questions)


def _sections(document: Document) -> Iterator[tuple[list[str], int, int]]:
    """Heading path and body offsets of each section."""
    path: dict[int, str] = {}
    start = 0
    for match in _HEADING.finditer(_without_fences(document.text)):
        yield _heading_path(document, path), start, match.start()
        level = len(match[1])
        path = {above: title for above, title in path.items() if above < level} | {level: match[2]}
        start = match.end()
    yield _heading_path(document, path), start, len(document.text)


def _heading_path(document: Document, path: dict[int, str]) -> list[str]:
    titles = [title for _, title in sorted(path.items())]
    return titles if titles[:1] == [document.title] else [document.title, *titles]


def _without_fences(text: str) -> str:
    """Code blocks blanked out, so that a comment in them is no heading; same length."""
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Group paragraphs into passages; a paragraph that is too long is cut at its sentences."""
    first = last = -1
    for unit_start, unit_end in _units(text, start, end):
        if first >= 0 and unit_end - first > _PASSAGE_CHARACTERS:
            yield first, last
            first = -1
        if first < 0:
            first = unit_start
        last = unit_end
    if first >= 0:
        yield first, last


def _units(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for paragraph in _PARAGRAPH.finditer(text, start, end):
        if len(paragraph[0]) <= _PASSAGE_CHARACTERS:
            yield paragraph.start(), paragraph.start() + len(paragraph[0].rstrip())
            continue
        for sentence in _SENTENCE.finditer(text, paragraph.start(), paragraph.end()):
            for cut in range(sentence.start(), sentence.end(), _PASSAGE_CHARACTERS):
                piece = text[cut : min(cut + _PASSAGE_CHARACTERS, sentence.end())]
                if piece.strip():
                    yield cut, cut + len(piece.rstrip())


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Character offsets of the sentences of `text`, list items and lines counted as sentences."""
    for match in _SENTENCE.finditer(text):
        if stripped := match[0].rstrip():
            yield match.start(), match.start() + len(stripped)
