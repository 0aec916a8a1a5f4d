"""The catalogue: what is known of each learned document without reading its text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from engine.library.documents import Document, passages

Kind = Literal["faq", "page", "pdf", "web"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A document's line in the catalogue."""

    id: str
    digest: str
    """Of the document: changes with anything in it."""
    content: str
    """Of what it says and where it may be said: the same for documents that are each other's duplicates."""
    source: str
    file: str = ""
    """Digest of the bytes it was read from; empty when they held more than this document."""
    learned_for: str = ""
    """The scope that `learn` was given, which a row's own goes before."""
    scope: str = ""
    kind: Kind = "page"
    passages: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Entry:
        return cls(**json.loads(text))


def entry_of(document: Document, file: str = "", learned_for: str = "") -> Entry:
    """A document's entry. Cuts it into passages, to count them."""
    return Entry(
        id=document.id,
        digest=document.digest,
        content=_content(document),
        source=document.source,
        file=file,
        learned_for=learned_for,
        scope=document.scope,
        kind=_kind(document),
        passages=sum(1 for _ in passages(document)),
    )


def _content(document: Document) -> str:
    said = replace(document, id="", title="", source="")
    return hashlib.sha256(said.to_json().encode()).hexdigest()[:32]


def _kind(document: Document) -> Kind:
    if document.question:
        return "faq"
    if document.source.startswith(("http://", "https://")):
        return "web"
    return "pdf" if document.source.lower().endswith(".pdf") else "page"


Catalogue = Mapping[str, Entry]
