"""The labelled questions and what they are asked of, read into documents as `learn` would make them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.library.documents import Document, passages
from engine.library.faq import is_question
from engine.types import ChatTurn

_PAIRS = ("banking77", "clinc", "covidfaq", "stackfaq", "dstc11t5")
_OTHERS = ("covidqa_docs", "covidqa_queries", "mtragun_passages", "mtragun_queries")
FILES = (
    *(f"{name}_{part}" for name in _PAIRS for part in ("kb", "queries")),
    *_OTHERS,
    *("productdocs", "productfaq"),
)
"""Names of the JSONL files that are read."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the turns before it (oldest first), and the documents that answer it, if any."""

    id: str
    text: str
    gold: frozenset[str]
    earlier: tuple[ChatTurn, ...] = ()

    @property
    def half(self) -> int:
        """0 or 1, by its id: one half judges what was chosen on the other."""
        return _number(self.id) % 2


@dataclass(frozen=True, slots=True)
class Task:
    """Documents and questions about them."""

    name: str
    documents: Sequence[Document]
    asked: Sequence[Asked]
    withheld: frozenset[str] = field(default=frozenset())
    """Documents that are taken out: a question that only they answer is one that nothing answers."""

    def is_known(self, asked: Asked) -> bool:
        return bool(asked.gold - self.withheld)


class Rows:
    """The folder of JSONL files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self) -> list[str]:
        """The files that are not there."""
        return [f"{name}.jsonl" for name in FILES if not (self.folder / f"{name}.jsonl").is_file()]

    def read(self, name: str) -> list[Json]:
        """One object a line."""
        text = (self.folder / f"{name}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n") if line.strip()]

    def faq(self, name: str, withheld: Callable[[str], bool] = lambda name: False) -> Task:
        """Entries with a question, aliases and maybe an answer."""
        documents = [
            Document(
                row["id"],
                row["question"],
                row.get("answer") or row["question"],
                question=row["question"],
                aliases=tuple(row.get("aliases", ())),
            )
            for row in self.read(f"{name}_kb")
        ]
        asked = [Asked(row["id"], row["query"], _gold(row)) for row in self.read(f"{name}_queries")]
        return Task(name, documents, asked, frozenset(d.id for d in documents if withheld(d.id)))

    def product_faq(self) -> Task:
        """Answers found under the questions of product documentation, those questions hidden."""
        rows = self.read("productfaq")
        bodies = {(row["doc"], row["question"]): (row["id"], row["answer"]) for row in rows}
        for page in self.read("productdocs"):
            known = {_squeezed(row["answer"]) for row in rows if row["doc"] == page["id"]}
            for passage in passages(Document(page["id"], page["path"], page["text"])):
                asked = passage.questions[0] if passage.questions else ""
                is_known = any(_squeezed(passage.text) in answer for answer in known)
                if is_question(asked) and (page["id"], asked) not in bodies and not is_known:
                    bodies[page["id"], asked] = (f"{page['id']}#{passage.start}", passage.text)
        asked_rows = [Asked(row["id"], row["question"], frozenset({row["id"]})) for row in rows]
        return Task("productfaq", [Document(name, "", text) for name, text in bodies.values()], asked_rows)

    def entities(self) -> Task:
        """The same questions of many hotels and restaurants, asked in conversations."""
        documents = [
            Document(
                row["id"], row["question"], row["answer"], question=row["question"], entity=row["entity"]
            )
            for row in self.read("dstc11t5_kb")
        ]
        rows = [row for row in self.read("dstc11t5_queries") if row["needs_kb"] and row["gold"]]
        return Task("dstc11t5", documents, [_in_conversation(row) for row in rows])

    def forum(self) -> Task:
        """Passages without headings, asked for in conversations; those with an answer among them."""
        documents = [Document(row["id"], "", row["text"]) for row in self.read("mtragun_passages")]
        rows = [
            row for row in self.read("mtragun_queries") if row["answerability"] in ("ANSWERABLE", "PARTIAL")
        ]
        return Task("mtragun", documents, [_in_conversation(row) for row in rows])


def is_third(name: str) -> bool:
    """About 30 of 100 ids, always the same."""
    return int(hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:8], 16) % 10 < 3


def is_odd(name: str) -> bool:
    """Half of the ids, always the same."""
    return _number(name) % 2 == 1


def _number(name: str) -> int:
    return int(hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(), 16)


def _gold(row: Json) -> frozenset[str]:
    if not row.get("in_scope", True):
        return frozenset()
    return frozenset(row.get("faq_ids") or [row.get("faq_id") or row["intent"]])


def _in_conversation(row: Json) -> Asked:
    """The rows' history is newest first, each turn with who said it."""
    turns = []
    for said in reversed(row["history"]):
        who, _, text = said.partition(":")
        turns.append(ChatTurn("user" if who == "user" else "assistant", text.strip()))
    return Asked(row["id"], row["last_turn"], frozenset(row["gold"]), tuple(turns))


def _squeezed(text: str) -> str:
    return " ".join(text.split())
