"""The text of a PDF, page by page."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.errors import UnreadableDocument

if TYPE_CHECKING:
    from pypdf import PdfReader

# It warns of each oddity that it mends; what it cannot mend is told as the reason.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)

# A small file can hold very much: its streams are packed, and its pages may share one.
_MOST_PAGES = 5000
_MOST_CHARACTERS = 10_000_000
_MOST_STREAM_BYTES = 8_000_000
_STREAM_LIMITS = (
    "zlib_maximum_output_length",
    "lzw_maximum_output_length",
    "run_length_maximum_output_length",
    "brotli_maximum_output_length",
    "array_based_stream_maximum_output_length",
)
_SECONDS = 30  # of processor time: a dense page takes some milliseconds


def read_pdf(content: bytes) -> tuple[str, str]:
    """Title, empty if it has none, and text: a form feed ends each page, as pdftotext has it.

    Raises `UnreadableDocument` for a PDF that is encrypted, broken, too large unpacked, or holds no text.
    """
    from pypdf import PdfReader, apply_configuration  # a fifth of a second to import, and few are PDFs
    from pypdf.errors import DependencyError, LimitReachedError

    limits: dict[str, Any] = dict.fromkeys(_STREAM_LIMITS, _MOST_STREAM_BYTES)
    try:
        with apply_configuration(**limits):
            reader = PdfReader(io.BytesIO(content))
            # Many are encrypted with the empty password: anybody may read those.
            if reader.is_encrypted and not reader.decrypt(""):
                raise UnreadableDocument("encrypted: it opens with a password only")
            pages = list(_pages(reader))
            title = str((reader.metadata and reader.metadata.title) or "").strip()
    except UnreadableDocument:
        raise
    except DependencyError as error:
        raise UnreadableDocument(f"it needs a decoder that is not installed: {error}") from error
    except LimitReachedError as error:
        raise UnreadableDocument(f"more than is read of a PDF: {error}") from error
    except Exception as error:  # a broken file can fail anywhere within the parser
        raise UnreadableDocument(f"a broken PDF ({type(error).__name__})") from error
    if not any(character.isalnum() for page in pages for character in page):
        raise UnreadableDocument(
            f"no text in its {len(pages)} pages: if it is scanned, have its text recognised (OCR) first"
        )
    return title, "".join(f"{_clean(page)}\n\f" for page in pages)


def _pages(reader: PdfReader) -> Iterator[str]:
    """The text of each page. Raises `UnreadableDocument` beyond the limits."""
    if len(reader.pages) > _MOST_PAGES:
        raise UnreadableDocument(f"{len(reader.pages)} pages, more than {_MOST_PAGES}: split it")
    end = time.thread_time() + _SECONDS

    def check_time(*_: object) -> None:
        if time.thread_time() > end:
            raise UnreadableDocument(f"reading it takes more than {_SECONDS} seconds: split it")

    characters = 0
    for page in reader.pages:
        text = page.extract_text(visitor_operand_before=check_time)
        check_time()  # pypdf swallows what is raised within a form
        characters += len(text)
        if characters > _MOST_CHARACTERS:
            raise UnreadableDocument(f"more than {_MOST_CHARACTERS} characters of text: split it")
        yield text


def _clean(page: str) -> str:
    """Without lone surrogates, which a broken font table may give and nothing can store."""
    return page.rstrip().replace("\f", " ").encode("utf-8", "replace").decode()
