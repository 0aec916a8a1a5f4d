"""Finds what a platform may turn into a link: every form of markdown, Slack's and HTML's, and bare addresses.

Code is read like the rest: Slack makes links there, and platforms do not agree on where code ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bots.bare_links import LETTER, bare_links
from bots.unmasked import Unmasked, unmask

_ADDRESS_SIGNS = re.compile(r"[.:/\\%&@?]")
_STRONG = re.compile(
    rf"[a-z][a-z0-9+-]{{1,40}}:\S|[\\/]{{2}}|{LETTER}+(?:\.{LETTER}+)+(?:[/?#:]|$)", re.IGNORECASE
)
_TARGET = re.compile(
    r"\s*+(?:<(?P<angle>[^<>\n]*+)>|(?P<plain>\S*+))(?:\s++(?:\"[^\"]*+\"|'[^']*+'|\([^()]*+\)))?\s*+"
)
_JOINT = re.compile(r"\](?P<gap>\s{0,20}+)\(")
_DEFINITION = re.compile(
    r"^(?:[ \t>*+-]|\d{1,9}[.)])*+\[(?P<label>[^\[\]\n]{1,200})\]:[ \t]*+(?:\n[ \t>]*+)?"
    r"(?P<target><[^<>\n]*+>|\S++)"
    r"(?:\s++(?:\"[^\"\n]*+\"|'[^'\n]*+'|\([^()\n]*+\)))?[ \t]*+(?:\n|\Z)",
    re.MULTILINE,
)
_ANGLE = re.compile(r"<(?P<inside>[^<>]{1,2048})>")
_TAG = re.compile(r"(?P<name>[a-z][a-z0-9]*)[\s/][^=]*+=", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"(?<![a-z-])(?:href|src|srcset|action|formaction|data|poster|background|cite|ping|longdesc)\s*+=\s*+"
    r"(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>\"']++))",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"</a\s*>", re.IGNORECASE)
# What Discord's own marks look like inside.
_MARK = re.compile(r"(?:[@#!:]|/[^/]|t:-?\d|a?:\w+:\d|id:(?:customize|browse|guide|linked-roles|home)\b)")


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of a stretch of the original when its link may not stay."""

    start: int
    end: int
    shows_removed: bool = False
    has_space: bool = False
    """With a space before it, as it stands behind a link's text."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link in a text. It may stay where one of its readings may."""

    readings: tuple[str, ...]
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """A link in the unmasked text, and the stretch that needs no second look."""

    readings: tuple[str, ...]
    edits: tuple[Edit, ...]
    covered: tuple[int, int]


def find_links(text: str) -> list[Link]:
    """All links of a text, in any form, with the edits that take them out.

    A definition that may not stay takes the references with it: their edits are the definition's.
    """
    unmasked = unmask(text)
    read = unmasked.text
    built = list(_built(read))
    rest = _blanked(read, [found.covered for found in built])
    bare = (
        _Found(link.readings, (Edit(link.start, link.end, shows_removed=True),), (link.start, link.end))
        for link in bare_links(rest)
    )
    return [_in_original(found, unmasked) for found in (*built, *bare)]


def _in_original(found: _Found, unmasked: Unmasked) -> Link:
    edits = (
        Edit(*unmasked.span(edit.start, edit.end), edit.shows_removed, edit.has_space) for edit in found.edits
    )
    return Link(found.readings, tuple(edits))


def _blanked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with spaces in these places; same length."""
    pieces, at = [], 0
    for start, end in sorted(spans):
        if end > at:
            start = max(start, at)
            pieces += [text[at:start], " " * (end - start)]
            at = end
    return "".join([*pieces, text[at:]])


def _built(text: str) -> Iterator[_Found]:
    """Links that are more than a bare address."""
    if "<" in text:
        yield from _angle_links(text)
    if "]" in text:
        brackets = _pairs(text, "[", "]")
        if "](" in text or _JOINT.search(text):
            yield from _inline_links(text, brackets)
        if "]:" in text:
            yield from _definitions(text, brackets)


def _pairs(text: str, opening: str, closing: str) -> dict[int, int]:
    """Where what closes was opened."""
    opened: list[int] = []
    pairs: dict[int, int] = {}
    for found in re.finditer(f"[{re.escape(opening + closing)}]", text):
        if found[0] == opening:
            opened.append(found.start())
        elif opened:
            pairs[found.start()] = opened.pop()
    return pairs


def _inline_links(text: str, brackets: dict[int, int]) -> Iterator[_Found]:
    """`[text](target "title")` and images, also with white space before the parenthesis."""
    closings = {opening: closing for closing, opening in _pairs(text, "(", ")").items()}
    for joint in _JOINT.finditer(text):
        opening, begin = brackets.get(joint.start()), joint.end()
        end = closings.get(begin - 1)
        if opening is None or end is None:
            continue
        target = _TARGET.fullmatch(text, begin, end)
        if target and (reading := _target(target, is_sure=not joint["gap"])):
            group = "plain" if target["angle"] is None else "angle"
            yield _Found((reading,), _unlinked(text, opening, joint.start(), end + 1), target.span(group))


def _target(target: re.Match[str], *, is_sure: bool) -> str:
    """What a link leads to; empty if it is no link but, say, an index and a call."""
    found = (target["plain"] if target["angle"] is None else target["angle"]).strip()
    looks_like_one = _ADDRESS_SIGNS.search(found) if is_sure else _STRONG.match(found)
    return found if looks_like_one else ""


def _unlinked(text: str, opening: int, closing: int, end: int) -> tuple[Edit, ...]:
    """Only the visible text stays of `[text]…`, with a word that something is missing."""
    start = opening - 1 if text[opening - 1 : opening] == "!" else opening
    has_text = bool(text[opening + 1 : closing].strip())
    return Edit(start, opening + 1), Edit(closing, end, shows_removed=True, has_space=has_text)


def _definitions(text: str, brackets: dict[int, int]) -> Iterator[_Found]:
    """`[label]: target` with the references to it: `[text][label]`, `[label][]`, `[label]`."""
    references: dict[str, list[tuple[Edit, ...]]] | None = None
    for found in _DEFINITION.finditer(text):
        target = found["target"].strip("<>")
        if not _ADDRESS_SIGNS.search(target):
            continue
        if references is None:
            references = _references(text, brackets)
        edits = [edit for reference in references.pop(_label(found["label"]), []) for edit in reference]
        yield _Found((target,), (Edit(*found.span()), *edits), found.span("target"))


def _references(text: str, brackets: dict[int, int]) -> dict[str, list[tuple[Edit, ...]]]:
    """By label, what takes the references to it out."""
    found: dict[str, list[tuple[Edit, ...]]] = {}
    closings = {opening: closing for closing, opening in brackets.items()}
    seconds: set[int] = set()
    for opening, closing in sorted(closings.items()):
        second = closings.get(closing + 1)
        if opening in seconds or text[closing + 1 : closing + 2] in {"(", ":"}:
            continue
        label, end = text[opening + 1 : closing], closing + 1
        if second is not None:
            seconds.add(closing + 1)
            label, end = text[closing + 2 : second].strip() or label, second + 1
        if len(label) <= 200:
            found.setdefault(_label(label), []).append(_unlinked(text, opening, closing, end))
    return found


def _label(text: str) -> str:
    return " ".join(text.casefold().split())


def _angle_links(text: str) -> Iterator[_Found]:
    """`<address>`, Slack's `<address|text>`, and HTML."""
    closed = [found.span() for found in _CLOSED.finditer(text)][::-1]
    for angle in _ANGLE.finditer(text):
        inside = angle["inside"]
        if _MARK.match(inside):
            continue
        if tag := _TAG.match(inside):
            yield from _tag_links(angle, tag["name"].lower(), closed)
        elif (address := inside.partition("|")[0].strip()) and _STRONG.match(address) and " " not in address:
            yield _Found((address,), tuple(_angle_edits(angle)), angle.span())


def _angle_edits(angle: re.Match[str]) -> Iterator[Edit]:
    start, bar = angle.start(), angle["inside"].find("|")
    if bar < 0:
        yield Edit(start, angle.end(), shows_removed=True)
        return
    has_text = bool(angle["inside"][bar + 1 :].strip())
    yield Edit(start, start + bar + 2)
    yield Edit(angle.end() - 1, angle.end(), shows_removed=True, has_space=has_text)


def _tag_links(angle: re.Match[str], name: str, closed: list[tuple[int, int]]) -> Iterator[_Found]:
    edits: tuple[Edit, ...] = (Edit(*angle.span(), shows_removed=True),)
    if name == "a":
        while closed and closed[-1][0] < angle.end():
            closed.pop()
        if closed:
            edits = (Edit(*angle.span()), Edit(*closed[-1], shows_removed=True, has_space=True))
    for attribute in _ATTRIBUTE.finditer(angle["inside"]):
        value = (attribute[1] or attribute[2] or attribute[3] or "").strip()
        if _ADDRESS_SIGNS.search(value):
            yield _Found((value,), edits, angle.span())
