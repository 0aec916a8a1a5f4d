"""What `learn` is pointed at: files, folders and addresses, found and read one after the other."""

from __future__ import annotations

import asyncio
import hashlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from engine.errors import UnreadableDocument
from engine.library.readers import SUFFIXES, Reading, read_bytes, read_documents
from engine.library.web_page import AllowedHosts, fetch, is_address

# Part of a file's digest: raised when the same bytes become another document than before.
_READERS_VERSION = 1


@dataclass(frozen=True, slots=True)
class Source:
    """One file or page: `name` for people and as an id, `place` to find it again.

    With a `problem` it cannot be read, and is not worth a try.
    """

    name: str
    place: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What a source held: `digest` stays the same as long as its bytes do."""

    data: bytes
    digest: str
    suffix: str = ""
    charset: str = ""


def place_of(name: str) -> str:
    """An address as it is, a path made absolute, links followed."""
    return name if is_address(name) else os.path.realpath(name)


def is_there(place: str) -> bool:
    """Whether a file or folder exists and may be looked at; a page is taken to be there."""
    return is_address(place) or _mode(place) is not None


def is_folder(place: str) -> bool:
    """Whether this is a folder that may be looked at."""
    mode = _mode(place)
    return mode is not None and S_ISDIR(mode)


def _mode(place: str) -> int | None:
    try:
        return Path(place).stat().st_mode
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None


def sources(name: str) -> Iterator[Source]:
    """Every file and page that this name stands for. Hidden files and those of other kinds are left alone."""
    path = Path(name)
    if is_address(name):
        yield Source(name.partition("#")[0], name.partition("#")[0])
    elif is_folder(name):
        yield from _below(path)
    elif is_there(name):
        yield _source(path, path.name)
    else:
        yield Source(_shown(name), place_of(name), "no such file or folder")


def _below(root: Path) -> Iterator[Source]:
    problems: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=problems.append):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in [*folders, *sorted(names)]:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if path.is_symlink() and name in folders:
                yield Source(_shown(relative), str(path), "a link to a folder, which is not followed")
            elif name not in folders and not name.startswith(".") and path.suffix.lower() in SUFFIXES:
                yield _source(path, relative)
    for problem in problems:
        yield Source(_shown(str(problem.filename)), place_of(str(problem.filename)), reason_of(problem))


def _source(path: Path, name: str) -> Source:
    place = os.path.realpath(path)
    if _shown(place) != place or _shown(name) != name:
        return Source(_shown(name), _shown(place), "its name has characters that cannot be shown: rename it")
    return Source(name, place)


def _shown(name: str) -> str:
    """`name` with bytes that are no text and control characters written out."""
    return "".join(
        repr(character)[1:-1] if unicodedata.category(character) in {"Cc", "Cs"} else character
        for character in name
    )


async def load(source: Source, allowed: AllowedHosts) -> Content:
    """Read or fetch a source. Raises `UnreadableDocument` with the reason."""
    if source.problem:
        raise UnreadableDocument(source.problem)
    if is_address(source.place):
        page = await fetch(source.place, allowed)
        return Content(page.content, _digest(page.content), page.suffix, page.charset)
    return await asyncio.to_thread(_load_file, Path(source.place))


def _load_file(path: Path) -> Content:
    try:
        data = read_bytes(path)
    except OSError as error:
        raise UnreadableDocument(reason_of(error)) from error
    return Content(data, _digest(data))


def _digest(data: bytes) -> str:
    return hashlib.sha256(b"%d\0" % _READERS_VERSION + data).hexdigest()[:32]


def reading_of(source: Source, content: Content) -> Reading:
    """The documents in it. Blocks. Raises `UnreadableDocument` with the reason."""
    return read_documents(
        content.data, source.name, source.place, suffix=content.suffix, charset=content.charset
    )


def reason_of(error: OSError) -> str:
    """In words, without the path, which stands before it already."""
    return (error.strerror or str(error)).lower()
