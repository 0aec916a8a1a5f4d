"""The links of the knowledge base: with the customer's own and the allowed hosts, all that may be shown.

Reads the documents from Redis, off the event loop, and takes apart only those that changed since. What cannot
be read leaves what was known before: nothing becomes a link by that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bots.addresses import canonical
from bots.links import Links, found
from bots.message import ConversationKey
from engine.library.documents import Document, is_visible
from engine.library.library import DOCUMENTS_KEY, VERSION_KEY
from engine.library.web_page import AllowedHosts, is_address
from engine.log import logger

log = logger("bots.known_links")

_LOOK_SECONDS = 2.0
"""How long a change of the knowledge base may go unnoticed."""
_AT_ONCE = 200
"""Documents that are read and taken apart in one go."""
_LONG = 10_000
"""Characters from which on a customer's own text is read in a thread."""


@dataclass(frozen=True, slots=True)
class _Page:
    """What a document as it was stored holds."""

    stored: int
    """A hash of the stored bytes."""
    scope: str
    links: frozenset[str]


@dataclass(frozen=True, slots=True)
class _AnyOf:
    """Holds what one of them holds; made for each turn, where a union would be copied."""

    parts: tuple[frozenset[str], ...]

    def __contains__(self, link: object) -> bool:
        return any(link in part for part in self.parts)


class KnownLinks:
    """Which links may be shown where, by what was learned; kept in memory."""

    def __init__(self, redis: Redis, hosts: Iterable[str] = ()) -> None:
        """`hosts` may be linked to whatever the path, as `docs.example.org` or `*.example.org`."""
        self._redis: Any = redis
        self._hosts = AllowedHosts(hosts)
        self._pages: Mapping[bytes, _Page] = {}
        self._by_scope: Mapping[str, frozenset[str]] = {}
        self._version: bytes | None = None
        self._next_look = 0.0
        self._lock = asyncio.Lock()

    async def links_for(self, conversation: ConversationKey, *texts: str) -> Links:
        """What may be linked to in a conversation in which the customer wrote these texts.

        Waits while a change of the knowledge base is read in: a second for 10,000 documents.
        """
        async with self._lock:
            if time.monotonic() >= self._next_look:
                await self._look()
                self._next_look = time.monotonic() + _LOOK_SECONDS
        place = str(conversation)
        seen = (links for scope, links in self._by_scope.items() if is_visible(scope, place))
        return Links(_AnyOf((*seen, await _own(texts))), self._hosts)

    async def _look(self) -> None:
        try:
            # The version is read first: what changes while the documents are read shows at the next look.
            version = await self._redis.get(VERSION_KEY) or b""
            if version != self._version:
                self._pages = await self._read()
                self._by_scope = await asyncio.to_thread(_by_scope, self._pages)
                self._version = version
        except (RedisError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("links of the knowledge base not read; those known before stay", reason=repr(error))

    async def _read(self) -> dict[bytes, _Page]:
        pages: dict[bytes, _Page] = {}
        cursor = -1
        while cursor:
            cursor, stored = await self._redis.hscan(DOCUMENTS_KEY, max(0, cursor), count=_AT_ONCE)
            pages |= await asyncio.to_thread(_pages, stored, self._pages)
        return pages


def _pages(stored: Mapping[bytes, bytes], known: Mapping[bytes, _Page]) -> dict[bytes, _Page]:
    pages: dict[bytes, _Page] = {}
    for name, content in stored.items():
        page = known.get(name)
        pages[name] = page if page and page.stored == hash(content) else _page(content)
    return pages


def _page(content: bytes) -> _Page:
    document = Document.from_json(content)
    links = found(document.text)
    if is_address(document.source):
        links.append(document.source)
    return _Page(hash(content), document.scope, frozenset(map(canonical, links)))


def _by_scope(pages: Mapping[bytes, _Page]) -> dict[str, frozenset[str]]:
    by_scope: dict[str, set[str]] = {}
    for page in pages.values():
        by_scope.setdefault(page.scope, set()).update(page.links)
    return {scope: frozenset(links) for scope, links in by_scope.items()}


async def _own(texts: tuple[str, ...]) -> frozenset[str]:
    """The links in what the customer wrote."""
    if sum(map(len, texts)) > _LONG:
        return await asyncio.to_thread(_links_in, texts)
    return _links_in(texts)


def _links_in(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(canonical(link) for text in texts for link in found(text))
