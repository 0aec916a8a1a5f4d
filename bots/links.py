"""The last gate before a text goes to a platform: links that nobody vouches for are taken out.

Whoever gets words into a page or a message can make a model write a link that carries a conversation away.
What it leads to is looked at in every form that Discord, Slack or a browser may make a link of, see
`bots.found_links`; text inside of code is no exception. A name without a path, such as `example.md`, whose
ending is better known from files is let through; so is a lone number, and a word that links nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable

from yarl import URL

from bots.addresses import canonical, host_of
from bots.found_links import Edit, find_links
from engine.errors import UnreadableDocument
from engine.library.web_page import AllowedHosts

# Taking a link out may join what is left to another one, but not again and again.
_MOST_PASSES = 4
# Nobody's text of a link is longer than this many characters, and no word that is none.
_LONGEST_LABEL = 300
_LONGEST_WORD = 100
_TAIL = 4000

_LAST_WORD = re.compile(r"[^\s\u2e80-\u9fff\uac00-\ud7ff]*\Z")
_ADDRESS_SIGNS = re.compile(r":[\\/]|//|\\\\|www\.|%[0-9a-f]{2}|[./@]", re.IGNORECASE)
_OPEN_ANGLE = re.compile(r"<(?:[^\s<>]*|[a-z][^<>]{0,400})\Z", re.IGNORECASE)
# `[text`, `[text]`, `[text](target`, `[text][label`, `[label]: target`, none of it ended.
_OPEN_BRACKET = re.compile(
    r"!?\[(?:[^\[\]\n]|\[[^\[\]\n]*\])*+(?:\](?:\s*(?:\((?:[^()\n]|\n(?!\n)|\([^()\n]*\))*+)?|\[[^\[\]\n]*+|:\s*\S*+)?)?\Z"
)


class Links:
    """The links that may be shown in one conversation."""

    def __init__(self, known: Container[str], hosts: Iterable[str] | AllowedHosts = ()) -> None:
        """`known` holds canonical forms, see `bots.addresses.canonical`."""
        self._known = known
        self._hosts = hosts if isinstance(hosts, AllowedHosts) else AllowedHosts(hosts)

    def allows(self, link: str) -> bool:
        """Whether this link is known, however it is written, or leads to an allowed host."""
        form = canonical(link)
        return form in self._known or self._is_host_allowed(form)

    def _is_host_allowed(self, form: str) -> bool:
        if not (host := host_of(form)):
            return False
        try:
            self._hosts.check(URL(f"https://{host}/"))
        except (UnreadableDocument, ValueError):
            return False
        return True


def found(text: str) -> list[str]:
    """All links of a text, in any form, as they are written there."""
    return [reading for link in find_links(text) for reading in link.readings]


def clean(text: str, allowed: Callable[[str], bool], removed: str) -> str:
    """The text without the links that are not allowed; what stays of it is unchanged.

    The text of a link stays, `removed` is said behind it; a bare address becomes `removed`.
    """
    for _ in range(_MOST_PASSES):
        edits = {
            edit for link in find_links(text) if not any(map(allowed, link.readings)) for edit in link.edits
        }
        if not edits:
            return text
        text = _applied(text, edits, removed)
    return removed


def _applied(text: str, edits: Iterable[Edit], removed: str) -> str:
    pieces, at = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, -edit.end)):
        if edit.start < at or (edit.start == edit.end):
            continue
        said = f"{' ' * edit.has_space}{removed}" if edit.shows_removed else ""
        pieces += [text[at : edit.start], said]
        at = edit.end
    result = _once("".join([*pieces, text[at:]]), removed)
    return result if result.strip() or not text.strip() else removed


def _once(text: str, removed: str) -> str:
    """Said once where a link and its text both are gone."""
    said = re.escape(removed)
    return re.sub(rf"{said}(?:\s?{said})+", removed.replace("\\", r"\\"), text) if removed else text


def held_back(text: str) -> str:
    """The text without a tail that may yet grow into a link, for showing it while it is written.

    A reference such as `[text][1]` is shown before its definition is known, and no link until then.
    """
    shown = _without_opened(_without_opened(text)[: _last_word(text)])  # a word may begin within brackets
    return shown[:-1] if shown.endswith("!") and len(shown) < len(text) else shown


def _last_word(text: str) -> int:
    found = _LAST_WORD.search(text, max(0, len(text) - _TAIL))
    assert found is not None  # it may be empty
    is_long = len(found[0]) > _LONGEST_WORD and _ADDRESS_SIGNS.search(found[0]) is None
    return len(text) if is_long else found.start()


def _without_opened(text: str) -> str:
    opened = (_opened(text, "<", _OPEN_ANGLE), _opened(text, "[", _OPEN_BRACKET))
    return text[: min(opened)]


def _opened(text: str, begin: str, pattern: re.Pattern[str]) -> int:
    """Where that begins which is open at the end of the text."""
    window = max(0, len(text) - _TAIL)
    at, low = len(text), max(window, len(text) - _LONGEST_LABEL)
    if "](" in text[window:] or "<" in text[window:]:
        low = window
    cut = len(text)
    while (at := text.rfind(begin, low, at)) >= 0:
        if pattern.match(text, at):
            cut = at
        elif cut < len(text) or begin == "<":
            break
    return cut
