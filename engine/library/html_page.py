"""The text of a web page as markdown, without navigation, scripts and advertisements."""

from __future__ import annotations

import re
from typing import Any

from engine.errors import UnreadableDocument
from engine.library.decoding import decode
from engine.library.hidden import drop_hidden

_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)|<\?xml[^>]+encoding=[\"']([\w-]+)", re.IGNORECASE)
_HEAD_BYTES = 2048  # where browsers look for it


def read_html(content: bytes, charset: str = "") -> tuple[str, str]:
    """Title, empty if it has none, and text in markdown. `charset` is what a server said.

    Raises `UnreadableDocument` for a page without text, and for one of links alone.
    """
    import trafilatura  # half a second to import, and few files are HTML

    page = _decode(content, charset)
    if _is_only_links(page):
        raise UnreadableDocument("only links: there is nothing to quote")
    text = trafilatura.extract(_seen(page), output_format="markdown", include_tables=True)
    if not text:
        raise UnreadableDocument("no text found in the HTML")
    metadata = trafilatura.extract_metadata(page)
    return (metadata and metadata.title) or "", text


def are_only_links(linked: int, other: int) -> bool:
    """Whether a page with so many letters within links and so many outside them has nothing to say."""
    return linked > 0 and other < linked / 10


def _decode(content: bytes, charset: str) -> str:
    named = _CHARSET.search(content[:_HEAD_BYTES])
    said = charset or (named and (named[1] or named[2]).decode()) or ""
    try:
        return content.decode(said) if said else decode(content)
    except (LookupError, UnicodeDecodeError):  # pages often say it wrongly
        return decode(content)


def _seen(page: str) -> Any:
    """The page's tree without what its readers do not see."""
    from trafilatura import load_html

    tree = load_html(page)
    if tree is not None:
        drop_hidden(tree)
    return tree


def _is_only_links(page: str) -> bool:
    from trafilatura import load_html

    tree = load_html(page)
    if tree is None:
        return False
    for element in list(tree.iter("head", "script", "style", "h1", "h2", "h3", "h4", "h5", "h6")):
        element.drop_tree()
    linked = sum(_letters(link.text_content()) for link in tree.iter("a"))
    return are_only_links(linked, _letters(tree.text_content()) - linked)


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)
