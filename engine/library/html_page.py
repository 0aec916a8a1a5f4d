"""The text of a web page as markdown, without navigation, scripts and advertisements."""

from __future__ import annotations

import re
from typing import Any

from engine.errors import UnreadableDocument
from engine.library.decoding import decode
from engine.library.hidden import drop_hidden

_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)|<\?xml[^>]+encoding=[\"']([\w-]+)", re.IGNORECASE)
# The encodings of the web: Python knows others that decode no page, or take very long for one.
_WEB_ENCODING = re.compile(
    r"utf-?(8|16|16le|16be)|(us-)?ascii|latin-?[1-9]|iso-?8859-\d{1,2}|(windows-|cp)125[0-8]|cp(874|932|949)|"
    r"shift-jis|sjis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5(-hkscs)?|koi8-[ru]|ks-c-5601-1987|"
    r"ibm866|macintosh|tis-620"
)
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
    if not _WEB_ENCODING.fullmatch(said.lower().replace("_", "-")):
        return decode(content)
    try:
        return content.decode(said)
    except (LookupError, UnicodeError):  # pages often say it wrongly
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
