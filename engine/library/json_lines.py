"""JSON lines to documents: FAQ entries and pages, a row each."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from engine.library.documents import Document, scope_of

_EXPECTED = "expected an object with id, question and answer, or id, title and text"


def read_json_lines(text: str, source: str) -> tuple[list[Document], list[str]]:
    """The documents, and for each line that is none the reason, with its number.

    A row is `{"id", "question", "answer"}` or `{"id", "text"}`, with optional `title`, `aliases`, `entity`
    and `scope`.
    """
    documents: dict[str, Document] = {}
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):  # JSON strings may hold other line ends
        if not line.strip():
            continue
        try:
            document = _read_row(json.loads(line), source)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            told = str(error) if isinstance(error, _BadRow) else _EXPECTED
            problems.append(f"line {number}: {told}")
            continue
        if document.id in documents:
            problems.append(f"line {number}: an earlier line has the id {document.id}")
        documents.setdefault(document.id, document)
    return list(documents.values()), problems


class _BadRow(ValueError):
    """What is wrong with a row, in words for who wrote it."""


def _read_row(row: dict[str, Any], source: str) -> Document:
    _check_characters(row)
    name, scope, entity = str(row["id"]), _scope(row), str(row.get("entity") or "")
    aliases = tuple(map(str, row.get("aliases") or ()))
    if "question" in row:
        question = _text(row, "question")
        return Document(name, question, _text(row, "answer"), source, question, aliases, scope, entity)
    return Document(
        name, str(row.get("title") or name), _text(row, "text"), source, "", aliases, scope, entity
    )


def _check_characters(row: dict[str, Any]) -> None:
    """Escapes can write what no text file can hold: half a character."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _BadRow("half a character, a surrogate without its partner") from error
    if any(unicodedata.category(character) == "Cc" for character in str(row["id"])):
        raise _BadRow("its id has characters that cannot be shown")


def _scope(row: dict[str, Any]) -> str:
    places = row.get("scope") or ()
    try:
        return scope_of([places] if isinstance(places, str) else map(str, places))
    except ValueError as error:
        raise _BadRow(str(error)) from error


def _text(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{name} is no text")
    return value
