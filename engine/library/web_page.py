"""Fetches web pages to learn, from allowed hosts only.

A page is fetched by this machine, which reaches more than its users should: so every address, that of each
redirect too, must be on the list, and a host that is listed by pattern may not lead into a private network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from engine.errors import UnreadableDocument
from engine.library.readers import limit_of

_SECONDS = 30
_MOST_REDIRECTS = 5
_CHUNK_BYTES = 65536
_GONE = frozenset({404, 410})
_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/x-markdown": ".md",
    "text/plain": ".txt",
    "application/pdf": ".pdf",
}


@dataclass(frozen=True, slots=True)
class WebPage:
    """What an address gave: `suffix` as a file of its kind would have."""

    content: bytes
    suffix: str
    charset: str


def is_address(name: str) -> bool:
    """Whether this names a web page and no file."""
    return name.lower().startswith(("http://", "https://"))


class AllowedHosts:
    """The hosts whose pages may be learned: `docs.example.org`, `*.example.org`, `10.0.0.7:8080`.

    Without a port the usual ones are meant.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = frozenset(host.strip().lower() for host in hosts)

    def check(self, url: URL) -> None:
        """Raise `UnreadableDocument` when nothing may be fetched from there."""
        if url.scheme not in {"http", "https"} or not url.host:
            raise UnreadableDocument(f"{url} is no address of a web page")
        if url.user or url.password:
            raise UnreadableDocument("an address with a user or password in it: it would be stored and shown")
        if not (self._is_named(url) or self._is_matched(url)):
            raise UnreadableDocument(
                f"{_place(url)} is not among the hosts that may be fetched: set FRONTDESK_ALLOWED_HOSTS"
            )

    def may_be_private(self, url: URL) -> bool:
        """Whether this host may be within a private network: somebody wrote just that name or address."""
        return self._is_named(url)

    def _is_named(self, url: URL) -> bool:
        return _place(url) in self._hosts

    def _is_matched(self, url: URL) -> bool:
        if _is_ip_address(url.host or ""):
            return False
        parts = _place(url).split(".")
        return any("*." + ".".join(parts[cut:]) in self._hosts for cut in range(1, len(parts)))


def _place(url: URL) -> str:
    host = (url.host or "").lower().rstrip(".")
    return host if url.is_default_port() else f"{host}:{url.port}"


async def fetch(address: str, allowed: AllowedHosts) -> WebPage:
    """Fetch a page, following redirects within the allowed hosts.

    Raises `UnreadableDocument` with the reason: no address, host not allowed, gone, too large, too slow, of
    another kind.
    """
    try:
        url = URL(address)
        async with asyncio.timeout(_SECONDS):
            for _ in range(_MOST_REDIRECTS + 1):
                found = await _get(url, allowed)
                if isinstance(found, WebPage):
                    return found
                url = found
    except TimeoutError as error:
        raise UnreadableDocument(f"no answer within {_SECONDS} seconds") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: no address, or no host's name
        raise UnreadableDocument(f"cannot be fetched: {error}") from error
    raise UnreadableDocument(f"more than {_MOST_REDIRECTS} redirects")


async def _get(url: URL, allowed: AllowedHosts) -> WebPage | URL:
    """The page, or where it redirects to."""
    allowed.check(url)
    connector = aiohttp.TCPConnector(resolver=_Resolver(may_be_private=allowed.may_be_private(url)))
    async with (
        aiohttp.ClientSession(connector=connector, headers={"User-Agent": "frontdesk"}) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if response.status in {301, 302, 303, 307, 308} and "Location" in response.headers:
            return url.join(URL(response.headers["Location"]))
        if response.status in _GONE:
            raise UnreadableDocument(
                f"gone ({response.status}); what was learned stays, `learn --remove {url}` takes it out"
            )
        if response.status != 200:
            raise UnreadableDocument(f"the server says {response.status} {response.reason}")
        suffix = _SUFFIXES.get(response.content_type)
        if suffix is None:
            raise UnreadableDocument(f"{response.content_type} is none of {', '.join(_SUFFIXES)}")
        return WebPage(await _read(response, limit_of(suffix)), suffix, response.charset or "")


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        content += chunk  # unpacked: a small answer that unpacks to a huge one stops here as well
        if len(content) > limit:
            raise UnreadableDocument(f"larger than {limit // 1024 // 1024} MB")
    return bytes(content)


class _Resolver(AbstractResolver):
    """Looks names up and leaves private addresses out: what is connected to is what was checked."""

    def __init__(self, *, may_be_private: bool) -> None:
        self._may_be_private = may_be_private
        self._resolver = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [one for one in found if self._may_be_private or _is_public(one["host"])]
        if found and not public:
            raise UnreadableDocument(
                f"{host} is within a private network: FRONTDESK_ALLOWED_HOSTS must name it without a pattern"
            )
        return public

    async def close(self) -> None:
        await self._resolver.close()


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    return (getattr(found, "ipv4_mapped", None) or found).is_global
