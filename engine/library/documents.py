"""Documents, and the passages that they are cut into, with exact character offsets.

Knows no files: those are read by `engine.library.readers`.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal
from urllib.parse import quote, unquote

from engine.library import faq
from engine.library.markdown import headings, read_front_matter, without_fences
from engine.library.visible import between_comments, without_comments

# Passages of about this many characters: a few paragraphs, within what the embedder reads (256 tokens).
_PASSAGE_CHARACTERS = 1000

Kind = Literal["faq", "section"]

_PARAGRAPH = re.compile(r"\S.*?(?=\n[ \t]*\n|\Z)", re.DOTALL)
_SENTENCE = re.compile(r"\S.*?(?:[.!?。！？](?=\s|$)|(?<=[。！？])|\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Document:
    """A learned text. Offsets of passages and citations count characters of `text`.

    In the text a form feed ends a page, as in what is read from a PDF.
    """

    id: str
    title: str
    text: str
    source: str = ""
    """The file's path or the page's address."""
    question: str = ""
    """Set for a FAQ entry, whose `text` is the answer."""
    aliases: tuple[str, ...] = ()
    """Other ways to ask for it."""
    scope: str = ""
    """Where it may be quoted, see `is_visible`."""
    entity: str = ""
    """What a FAQ entry is about, where the same is asked of many: a hotel, a product."""

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
    """What it is known to answer: a FAQ entry's question and aliases, or the last heading."""
    kind: Kind = "section"
    """`faq` when somebody wrote the questions as such: then a customer's question is likely to look alike."""
    scope: str = ""
    """The document's."""
    entity: str = ""
    """The document's."""


def is_visible(scope: str, conversation: str) -> bool:
    """Whether what is scoped so may be quoted in the conversation of that name.

    A scope is empty, for everywhere, or names places, with a space between: each the first parts of a
    conversation's name `platform:workspace:channel:thread`. Without a name only what is for everywhere is
    seen.
    """
    places = scope.split()
    return not places or any(conversation == p or conversation.startswith(f"{p}:") for p in places)


def scope_of(places: Iterable[str]) -> str:
    """The scope of places that people wrote, such as `slack:T123` or `discord:81:92`.

    Raises `ValueError` naming one that is no place.
    """
    return " ".join(sorted({_place(place) for place in places}))


def _place(place: str) -> str:
    parts = [quote(unquote(part), safe="") for part in place.strip().split(":")]
    if not all(parts) or len(parts) > 4:
        raise ValueError(f"{place!r} is no place: write platform:workspace or platform:workspace:channel")
    return ":".join(parts)


def passages(document: Document) -> Iterator[Passage]:
    """Cut a document into passages: a FAQ answer whole, else by headings and questions, then paragraphs."""
    if document.question:
        heading = " › ".join(filter(None, (document.entity, document.question)))
        yield _passage(
            document, heading, (0, len(document.text)), (document.question, *document.aliases), "faq"
        )
        return
    text = without_fences(document.text)
    lines = text.replace("\f", "\n")  # where a page begins, a line does
    seen = list(between_comments(text))
    unsaid = document.aliases  # of the page: what its first passage answers
    for path, asked, start, end in _sections(document, without_comments(text)):
        for entry in faq.entries(lines, start, end, after_question=faq.is_question(asked)):
            question = entry.question or asked
            kind: Kind = "faq" if entry.question or entry.aliases or faq.is_question(asked) else "section"
            heading = " › ".join([*path, entry.question] if entry.question else path)
            for piece in _seen_pieces(document.text, seen, entry.start, entry.end):
                questions = tuple(filter(None, (question, *entry.aliases, *unsaid)))
                yield _passage(document, heading, piece, questions, kind)
                unsaid = ()


def _passage(
    document: Document, heading: str, piece: tuple[int, int], questions: tuple[str, ...], kind: Kind
) -> Passage:
    start, end = piece
    text, scope, entity = document.text[start:end], document.scope, document.entity
    return Passage(document.id, heading, start, end, text, questions, kind, scope, entity)


def _sections(document: Document, text: str) -> Iterator[tuple[list[str], str, int, int]]:
    """Heading path, what the last heading asks, and body offsets of each section."""
    if "\f" in text:
        yield from _pages(document, text)
        return
    path: dict[int, str] = {}
    start = read_front_matter(text).end
    for heading in headings(text, start):
        yield *_titles(document, path), start, heading.start
        above = {level: title for level, title in path.items() if level < heading.level}
        path = above | {heading.level: faq.bare_question(heading.title)}
        start = heading.end
    yield *_titles(document, path), start, len(text)


def _pages(document: Document, text: str) -> Iterator[tuple[list[str], str, int, int]]:
    start = 0
    for number, page in enumerate(text.split("\f"), 1):
        yield [document.title, f"page {number}"], "", start, start + len(page)
        start += len(page) + 1


def _titles(document: Document, path: dict[int, str]) -> tuple[list[str], str]:
    """The path with the page's title in front, and its last heading.

    A page's title is no question that its introduction answers, unless it is written as one.
    """
    titles = [title for _, title in sorted(path.items())]
    titles = titles if titles[:1] == [document.title] else [document.title, *titles]
    return titles, titles[-1] if len(titles) > 1 or faq.is_question(titles[0]) else ""


def _seen_pieces(
    text: str, seen: Sequence[tuple[int, int]], start: int, end: int
) -> Iterator[tuple[int, int]]:
    """The pieces of what is to be seen of `text[start:end]`: none holds a comment, or part of one."""
    for low, high in seen[max(0, bisect_right(seen, (start, len(text))) - 1) :]:
        if low >= end:
            return
        if high > start:
            yield from _pieces(text, max(low, start), min(high, end))


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
