"""What markdown looks like where it matters for cutting: headings, code blocks, links, front matter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(r"^(#{1,6})[ \t]+(\S.*)$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\]\n]{0,500})\]\([^)\n]{0,2000}\)|<?\bhttps?://[^\s>]+>?")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*$\n?", re.MULTILINE | re.DOTALL)
_PAIR = re.compile(r"([A-Za-z][\w -]*):(?:[ \t]+(.*?))?[ \t]*")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*?)[ \t]*")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading's level, 1 to 6, its text, and where its line starts and ends."""

    level: int
    title: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What a block of `key: value` lines between `---` at the top of a page says; `end` is where it ends."""

    title: str = ""
    aliases: tuple[str, ...] = ()
    end: int = 0


def without_fences(text: str) -> str:
    """Code blocks blanked out, so that a comment in them is no heading; same length."""
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def headings(text: str, start: int = 0) -> Iterator[Heading]:
    """The headings of a text whose code blocks are blanked out, from `start` on."""
    for match in _HEADING.finditer(text, start):
        yield Heading(len(match[1]), _without_closing(match[2]), match.start(), match.end())


def _without_closing(title: str) -> str:
    """`Costs ##` is titled Costs, `C#` is not titled C."""
    title = title.rstrip()
    opened = title.rstrip("#")
    return opened.rstrip() if opened and opened[-1] in " \t" else title


def letters_in_links(text: str) -> tuple[int, int]:
    """How many letters and digits stand within links, and outside them; headings are not counted."""
    body = _HEADING.sub("", text)
    links = [match[0] for match in _LINK.finditer(body)]
    linked = sum(_letters(link) for link in links)
    return linked, _letters(body) - linked


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


def read_front_matter(text: str) -> FrontMatter:
    """Title and aliases, `a; b`, `[a, b]` or a list below; a block of anything else is text."""
    block = _FRONT_MATTER.match(text)
    if block is None:
        return FrontMatter()
    values: dict[str, list[str]] = {}
    key = ""
    for line in block[1].split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if pair := _PAIR.fullmatch(line):
            key = pair[1].lower()
            values[key] = _listed(pair[2] or "")
        elif key and (item := _ITEM.fullmatch(line)):
            values[key].append(_unquoted(item[1]))
        elif not (key and line[0] in " \t"):
            return FrontMatter()
    title = "; ".join(values.get("title", ()))
    return (
        FrontMatter(title, tuple(filter(None, values.get("aliases", ()))), block.end())
        if key
        else FrontMatter()
    )


def _listed(value: str) -> list[str]:
    if value.startswith("[") and value.endswith("]"):
        return [
            _unquoted(part) for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^,]+", value[1:-1]) if part.strip()
        ]
    if value[:1] in {'"', "'"}:
        return [_unquoted(value)]
    return [part.strip() for part in value.split(";") if part.strip()]


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
