"""One run of `learn`: reads what it is pointed at, and decides what that makes of the library.

Knows no Redis. The library hands it the catalogue and writes what it decided.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import UnreadableDocument
from engine.library.catalogue import Entry, entry_of
from engine.library.documents import Document
from engine.library.sources import Content, Source, is_folder, is_there, load, place_of, reading_of, sources
from engine.library.web_page import AllowedHosts, is_address

SAMPLE_PAGES = (Path(__file__).parents[1] / "data" / "pages").resolve()


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of a document or file: added, changed, unchanged, removed or skipped, and why."""

    name: str
    status: str
    reason: str = ""


class Lesson:
    """First `read` everything, then `conclude`: only then is it known which documents are duplicates."""

    def __init__(
        self,
        known: Mapping[str, Entry],
        allowed: AllowedHosts,
        scope: str | None,
        *,
        is_sample: bool = False,
    ) -> None:
        self.results: list[Learned] = []
        self.documents: dict[str, Document] = {}
        """New and changed ones, by id, to be written."""
        self.entries: dict[str, Entry] = {}
        """Theirs."""
        self.removed: set[str] = set()
        self._known, self._allowed, self._scope, self._is_sample = known, allowed, scope, is_sample
        self._by_source: dict[str, list[Entry]] = defaultdict(list)
        for entry in known.values():
            self._by_source[entry.source].append(entry)
        self._owners = {entry.id: entry.source for entry in known.values()}
        self._read: dict[str, tuple[Document, Entry]] = {}
        self._kept: set[str] = set()
        self._unread: set[str] = set()
        self._roots: list[Path] = []

    async def read(self, name: str) -> None:
        """Read a file, a page, or every file of a folder."""
        for source in await asyncio.to_thread(lambda: list(sources(name))):
            try:
                content = await load(source, self._allowed)
                if not self._is_unchanged(source, content):
                    await asyncio.to_thread(self._take, source, content)
            except UnreadableDocument as error:
                self._skip(source, str(error))
        if not is_address(name):
            self._roots.append(Path(place_of(name)))

    def conclude(self) -> None:
        """Decide what is written and what is removed."""
        holders = self._holders()
        for document, entry in self._read.values():
            holder = holders.setdefault(entry.content, entry.id)
            if holder == entry.id:
                self._keep(document, entry)
            else:
                self._refuse_duplicate(entry.id, holder)
        for root in self._roots:
            self._remove_gone(root)
        if not self._is_sample and self.documents:
            self._remove_samples()

    def _skip(self, source: Source, reason: str) -> None:
        self.results.append(Learned(source.name, "skipped", reason))
        self._unread.add(source.place)

    def _is_unchanged(self, source: Source, content: Content) -> bool:
        """Whether just these bytes were learned before, from there, for the same scope: nothing to do."""
        for entry in self._by_source.get(source.place, ()):
            if entry.file == content.digest and self._learned_for(source.place) == entry.learned_for:
                self._kept.add(entry.id)
                self.results.append(Learned(entry.id, "unchanged"))
                return True
        return False

    def _take(self, source: Source, content: Content) -> None:
        """Read a source's documents. Blocks."""
        reading = reading_of(source, content)
        for problem in reading.problems:
            self._skip(source, problem)
        learned_for = self._learned_for(source.place)
        is_row = source.place.lower().endswith(".jsonl")
        for found in reading.documents:
            document = replace(found, id=self._name(found, is_row), scope=found.scope or learned_for)
            digest = "" if is_row else content.digest
            self._owners[document.id] = document.source
            self._read[document.id] = document, entry_of(document, digest, learned_for)

    def _learned_for(self, place: str) -> str:
        """The scope that is asked for now, else the one that was asked for before."""
        if self._scope is not None:
            return self._scope
        return next((entry.learned_for for entry in self._by_source.get(place, ())), "")

    def _name(self, document: Document, is_row: bool) -> str:
        """The document's id: a file keeps its first one; that of a document from elsewhere is not taken."""
        before = self._by_source.get(document.source)
        if before and not is_row:
            return before[0].id
        owner = self._owners.get(document.id, document.source)
        if owner == document.source or not is_there(owner):
            return document.id
        return f"{document.source}#{document.id}" if is_row else document.source

    def _holders(self) -> dict[str, str]:
        """Who already says what: by content, the id of a document that is as it was and still there."""
        return {
            entry.content: entry.id
            for entry in self._known.values()
            if is_there(entry.source)
            and (self._is_sample or not _is_sample(entry))
            and (entry.id not in self._read or self._read[entry.id][1].content == entry.content)
        }

    def _keep(self, document: Document, entry: Entry) -> None:
        stored = self._known.get(entry.id)
        self._kept.add(entry.id)
        if stored != entry:
            self.entries[entry.id] = entry
        if stored is not None and stored.digest == entry.digest:
            self.results.append(Learned(entry.id, "unchanged"))
            return
        self.documents[entry.id] = document
        self.results.append(Learned(entry.id, "changed" if stored else "added"))

    def _refuse_duplicate(self, name: str, holder: str) -> None:
        self.results.append(Learned(name, "skipped", f"the same text as {holder}"))
        if name in self._known:
            self.removed.add(name)

    def _remove_gone(self, root: Path) -> None:
        """Take out what came from `root` and was not found there now."""
        seen = {*self._unread, *(self._owners[name] for name in self._kept)}
        if is_folder(str(root)) and not any(_is_below(place, root) for place in seen):
            return  # rather a volume that is not mounted than a wish
        if not is_folder(str(root)) and root.suffix.lower() != ".jsonl":
            return
        for entry in self._known.values():
            if (
                _is_below(entry.source, root)
                and not self._is_settled(entry.id)
                and not self._is_unread(entry)
            ):
                self._remove(entry.id, "no longer there")

    def _is_settled(self, name: str) -> bool:
        return name in self._kept or name in self.removed

    def _is_unread(self, entry: Entry) -> bool:
        return any(_is_below(entry.source, Path(place)) for place in self._unread)

    def _remove_samples(self) -> None:
        """Take the imaginary shop's pages out, but for what was asked for: a real shop must not answer so."""
        for entry in self._known.values():
            if _is_sample(entry) and not self._is_settled(entry.id):
                self._remove(entry.id, "sample page")

    def _remove(self, name: str, reason: str) -> None:
        self.removed.add(name)
        self.results.append(Learned(name, "removed", reason))


def _is_below(place: str, root: Path) -> bool:
    return not is_address(place) and Path(place).is_relative_to(root)


def _is_sample(entry: Entry) -> bool:
    return Path(entry.source).parent == SAMPLE_PAGES
