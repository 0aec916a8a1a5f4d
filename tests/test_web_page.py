"""Web pages are fetched from allowed hosts only, wherever they redirect to, and refused with the reason."""

import socket

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pdfs import make_pdf
from yarl import URL

from engine.errors import UnreadableDocument
from engine.library import web_page
from engine.library.lesson import Learned
from engine.library.library import Library
from engine.library.web_page import AllowedHosts, fetch

HTML = (
    "<html><head><title>FAQ</title></head><body><article><h1>Returns</h1>"
    "<p>You have {days} days from delivery to return an item to us.</p></article></body></html>"
)


class Site:
    """A web server whose pages a test can change."""

    def __init__(self):
        self.pages = {}
        application = web.Application()
        application.router.add_get("/{name:.*}", self._answer)
        self._server = TestServer(application)

    async def _answer(self, request):
        found = self.pages.get(request.match_info["name"], 404)
        if isinstance(found, int):
            return web.Response(status=found)
        if isinstance(found, str):
            return web.Response(status=302, headers={"Location": found})
        body, content_type = found
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def __aenter__(self):
        await self._server.start_server()
        self.host = f"127.0.0.1:{self._server.port}"
        return self

    async def __aexit__(self, *_):
        await self._server.close()

    def address(self, name):
        return f"http://{self.host}/{name}"


@pytest.fixture
async def site():
    async with Site() as site:
        yield site


async def get(site, name, *more):
    return await fetch(site.address(name), AllowedHosts([site.host, *more]))


class TestFetching:
    @pytest.mark.parametrize(
        ("content_type", "suffix", "charset"),
        [
            ("text/html; charset=iso-8859-1", ".html", "iso-8859-1"),
            ("application/xhtml+xml", ".html", ""),
            ("text/markdown", ".md", ""),
            ("text/plain", ".txt", ""),
            ("application/pdf", ".pdf", ""),
        ],
    )
    async def test_the_content_type_tells_the_kind(self, site, content_type, suffix, charset):
        site.pages["page"] = b"content", content_type
        page = await get(site, "page")
        assert (page.content, page.suffix, page.charset) == (b"content", suffix, charset)

    async def test_other_kinds_are_refused(self, site):
        site.pages["photo"] = b"x", "image/png"
        with pytest.raises(UnreadableDocument, match="image/png is none of text/html"):
            await get(site, "photo")

    async def test_a_large_page_is_refused_once_the_limit_is_passed(self, site, monkeypatch):
        monkeypatch.setattr(web_page, "limit_of", lambda suffix: 2**20)
        site.pages["page"] = b"x" * (2**20 + 1), "text/plain"
        with pytest.raises(UnreadableDocument, match="larger than 1 MB"):
            await get(site, "page")

    @pytest.mark.parametrize(
        ("status", "reason"), [(404, "gone"), (410, "gone"), (500, "the server says 500")]
    )
    async def test_an_error_is_told(self, site, status, reason):
        site.pages["page"] = status
        with pytest.raises(UnreadableDocument, match=reason):
            await get(site, "page")

    async def test_a_server_that_is_away_is_told(self, site):
        await site.__aexit__()
        with pytest.raises(UnreadableDocument, match="cannot be fetched"):
            await get(site, "page")

    async def test_a_server_that_does_not_answer_is_waited_for_so_long(self, site, monkeypatch):
        monkeypatch.setattr(web_page, "_SECONDS", 0)
        site.pages["page"] = b"x", "text/plain"
        with pytest.raises(UnreadableDocument, match="no answer within 0 seconds"):
            await get(site, "page")

    @pytest.mark.parametrize(
        "address", ["http://[::1", "http://docs.example.org:99999/", f"http://{'a' * 70}.example.org/"]
    )
    async def test_what_is_no_address_is_told(self, address):
        with pytest.raises(UnreadableDocument, match="cannot be fetched"):
            await fetch(address, AllowedHosts(["*.example.org"]))


class TestRedirects:
    async def test_within_the_allowed_hosts_they_are_followed(self, site):
        site.pages |= {"old": "/new", "new": (b"here", "text/plain")}
        assert (await get(site, "old")).content == b"here"

    async def test_to_another_host_they_are_refused(self, site):
        async with Site() as other:
            other.pages["secret"] = b"secret", "text/plain"
            site.pages["page"] = other.address("secret")
            with pytest.raises(UnreadableDocument, match="is not among the hosts that may be fetched"):
                await get(site, "page")
            assert (await get(site, "page", other.host)).content == b"secret"

    @pytest.mark.parametrize(
        "target", ["file:///etc/passwd", "ftp://example.org/", "http:///x", "http://[::1"]
    )
    async def test_to_what_is_no_web_page_they_are_refused(self, site, target):
        site.pages["page"] = target
        with pytest.raises(UnreadableDocument):
            await get(site, "page")

    async def test_in_circles_they_end(self, site):
        site.pages["page"] = "/page"
        with pytest.raises(UnreadableDocument, match="more than 5 redirects"):
            await get(site, "page")


class TestAllowedHosts:
    ALLOWED = AllowedHosts(["docs.example.org", "*.example.com", "10.0.0.7:8080", "*.8.4.4"])

    @pytest.mark.parametrize(
        "address",
        [
            "https://docs.example.org/faq",
            "http://DOCS.example.org./faq",
            "https://a.example.com/",
            "https://a.b.example.com/",
            "http://10.0.0.7:8080/",
        ],
    )
    def test_what_is_listed_may_be_fetched(self, address):
        self.ALLOWED.check(URL(address))

    @pytest.mark.parametrize(
        "address",
        [
            "https://example.org/",
            "https://docs.example.org.evil.net/",
            "https://docs.example.org:6379/",
            "https://example.com/",
            "https://badexample.com/",
            "http://10.0.0.7/",
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://2130706433/",
            "http://8.8.4.4/",
            "https://user:word@docs.example.org/",
            "ftp://docs.example.org/",
        ],
    )
    def test_nothing_else_may(self, address):
        with pytest.raises(UnreadableDocument):
            self.ALLOWED.check(URL(address))

    async def test_a_pattern_does_not_lead_into_a_private_network(self, site, monkeypatch):
        # Given a name that leads to this machine
        site.pages["page"] = b"inside", "text/plain"
        port = site.host.rpartition(":")[2]
        look_up = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda _, *more, **named: look_up("127.0.0.1", *more, **named)
        )

        # Then its page is fetched when the name itself is listed, and not by pattern
        address = f"http://inside.example.org:{port}/page"
        page = await fetch(address, AllowedHosts([f"inside.example.org:{port}"]))
        assert page.content == b"inside"
        with pytest.raises(UnreadableDocument, match=r"inside\.example\.org is within a private network"):
            await fetch(address, AllowedHosts([f"*.example.org:{port}"]))

    @pytest.mark.parametrize(
        ("address", "is_public"),
        [
            ("93.184.216.34", True),
            ("2606:2800:220:1:248:1893:25c8:1946", True),
            ("10.0.0.1", False),
            ("127.0.0.1", False),
            ("169.254.169.254", False),
            ("100.64.0.1", False),
            ("0.0.0.0", False),
            ("::1", False),
            ("fe80::1%eth0", False),
            ("::ffff:10.0.0.1", False),
        ],
    )
    def test_private_addresses_are_known_as_such(self, address, is_public):
        assert web_page._is_public(address) is is_public


class TestLearning:
    async def test_a_pages_address_is_its_id_and_it_is_learned_again_when_it_changed(self, store, site):
        library, address = Library(store.redis, [site.host]), site.address("faq")
        site.pages["faq"] = HTML.format(days=30).encode(), "text/html"
        assert await library.learn([f"{address}#returns"]) == [Learned(address, "added")]
        assert await library.learn([address]) == [Learned(address, "unchanged")]
        site.pages["faq"] = HTML.format(days=14).encode(), "text/html"
        assert await library.learn([address]) == [Learned(address, "changed")]
        (document,) = await library.documents()
        assert (document.id, document.source, document.title) == (address, address, "Returns")
        assert "14 days" in document.text
        assert (await library.catalogue())[address].kind == "web"

    async def test_a_page_that_is_gone_stays_learned_until_it_is_removed(self, store, site):
        library, address = Library(store.redis, [site.host]), site.address("manual")
        site.pages["manual"] = make_pdf("Plug it in."), "application/pdf"
        await library.learn([address])
        del site.pages["manual"]
        (result,) = await library.learn([address])
        assert (result.name, result.status) == (address, "skipped")
        assert result.reason == f"gone (404); what was learned stays, `learn --remove {address}` takes it out"
        assert len(await library.documents()) == 1
        assert await library.remove([address]) == [Learned(address, "removed")]
        assert await library.documents() == []

    async def test_a_host_that_is_not_allowed_is_told_with_the_setting(self, store, site):
        (result,) = await Library(store.redis).learn([site.address("faq")])
        assert result.status == "skipped"
        assert "set FRONTDESK_ALLOWED_HOSTS" in result.reason
