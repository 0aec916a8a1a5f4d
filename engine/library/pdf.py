"""The text of a PDF, page by page."""

from __future__ import annotations

import io
import logging

from engine.errors import UnreadableDocument

# It warns of each oddity that it mends; what it cannot mend is told as the reason.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def read_pdf(content: bytes) -> tuple[str, str]:
    """Title, empty if it has none, and text: a form feed ends each page, as pdftotext has it.

    Raises `UnreadableDocument` for a PDF that is encrypted, broken, or holds no text.
    """
    from pypdf import PdfReader  # a fifth of a second to import, and few documents are PDFs
    from pypdf.errors import DependencyError

    try:
        reader = PdfReader(io.BytesIO(content))
        # Many are encrypted with the empty password: anybody may read those.
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableDocument("encrypted: it opens with a password only")
        pages = [page.extract_text() for page in reader.pages]
        title = str((reader.metadata and reader.metadata.title) or "").strip()
    except UnreadableDocument:
        raise
    except DependencyError as error:
        raise UnreadableDocument(f"it needs a decoder that is not installed: {error}") from error
    except Exception as error:  # a broken file can fail anywhere within the parser
        raise UnreadableDocument(f"a broken PDF ({type(error).__name__})") from error
    if not any(character.isalnum() for page in pages for character in page):
        raise UnreadableDocument(
            f"no text in its {len(pages)} pages: if it is scanned, have its text recognised (OCR) first"
        )
    return title, "".join(f"{_clean(page)}\n\f" for page in pages)


def _clean(page: str) -> str:
    """Without lone surrogates, which a broken font table may give and nothing can store."""
    return page.rstrip().replace("\f", " ").encode("utf-8", "replace").decode()
