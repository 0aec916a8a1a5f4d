"""Files to documents: which kinds can be read, how large they may be, and why others are refused.

Needs no torch, so that attachments are read by the chat side with it as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from stat import S_ISREG

from engine.errors import UnreadableDocument
from engine.library.decoding import decode
from engine.library.documents import Document
from engine.library.html_page import are_only_links, read_html
from engine.library.json_lines import read_json_lines
from engine.library.markdown import headings, letters_in_links, read_front_matter, without_fences
from engine.library.pdf import read_pdf

SUFFIXES = frozenset({".md", ".markdown", ".txt", ".html", ".htm", ".jsonl", ".pdf"})
MAX_BYTES = 10 * 1024 * 1024
MAX_PDF_BYTES = 50 * 1024 * 1024
_HTML = frozenset({".html", ".htm"})


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds, and what in it could not be read, with the reasons."""

    documents: tuple[Document, ...]
    problems: tuple[str, ...] = ()


def read_bytes(path: Path) -> bytes:
    """A file's content; its size is looked at before anything of it is read.

    Raises `UnreadableDocument` for another kind and for one that is too large, `OSError` as open does.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UnreadableDocument(f"{path.suffix or 'no suffix'} is none of {', '.join(sorted(SUFFIXES))}")
    state, limit = path.stat(), limit_of(suffix)
    if not S_ISREG(state.st_mode):  # a pipe would be waited for
        raise UnreadableDocument("no regular file")
    if state.st_size > limit:
        raise UnreadableDocument(f"larger than {limit // 1024 // 1024} MB")
    return path.read_bytes()


def limit_of(suffix: str) -> int:
    """Bytes that a file of this kind may have."""
    return MAX_PDF_BYTES if suffix == ".pdf" else MAX_BYTES


def read_documents(content: bytes, name: str, source: str, *, suffix: str = "", charset: str = "") -> Reading:
    """The documents of a file: `name` is the id, but for JSON lines, whose rows bring their own.

    Parameters
      source: the file's path or the page's address
      suffix: the kind, where the name does not tell it
      charset: of an HTML page, as its server said

    Raises `UnreadableDocument` with the reason.
    """
    suffix = suffix or PurePath(name).suffix.lower()
    stem = PurePath(name).stem or name
    if suffix == ".pdf":
        title, text = read_pdf(content)
        return Reading((Document(name, title or stem, text, source),))
    if suffix in _HTML:
        title, text = read_html(content, charset)
        return Reading((Document(name, title or stem, text, source),))
    text = decode(content)
    if not text.strip():
        raise UnreadableDocument("empty")
    if suffix == ".jsonl":
        documents, problems = read_json_lines(text, source)
        return Reading(tuple(documents), tuple(problems))
    return Reading((_read_markdown(text, name, stem, source),))


def _read_markdown(text: str, name: str, stem: str, source: str) -> Document:
    if are_only_links(*letters_in_links(text)):
        raise UnreadableDocument("only links: there is nothing to quote")
    front = read_front_matter(text)
    if not text[front.end :].strip():
        raise UnreadableDocument("empty")
    first = next(headings(without_fences(text), front.end), None)
    title = front.title or (first.title if first else stem)
    return Document(name, title, text, source, aliases=front.aliases)


def text_of(name: str, content: bytes) -> str:
    """The text of a file that somebody sent; its name's suffix tells HTML and PDF from plain text.

    Blocks: a large PDF takes seconds. Raises `UnreadableDocument` with the reason.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix == ".pdf" or content.startswith(b"%PDF-"):
        text = read_pdf(content)[1].replace("\f", "\n")
    elif suffix in _HTML:
        text = read_html(content)[1]
    else:
        text = decode(content)
    if not text.strip():
        raise UnreadableDocument("empty")
    return text
