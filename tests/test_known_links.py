"""Links of what was learned may be shown where it may be quoted, those that the customer wrote always."""

import asyncio
import time

import pytest
from redis.exceptions import ConnectionError as RedisDown

from bots import known_links
from bots.known_links import KnownLinks
from bots.message import ConversationKey
from engine.library.documents import Document
from engine.library.library import DOCUMENTS_KEY, VERSION_KEY, Library

HERE = ConversationKey("slack", "T1", "C1", "17.5")
ELSEWHERE = ConversationKey("discord", "81", "92")
WORDS = "# A page\n\nThis says a little more than that there is a link: "


@pytest.fixture
def at_once(monkeypatch):
    """Changes are noticed at the next question."""
    monkeypatch.setattr(known_links, "_LOOK_SECONDS", 0.0)


@pytest.fixture
def known(store):
    return KnownLinks(store.redis, ["help.example.org"])


async def learn(store, folder, text, scope=None):
    folder.mkdir(exist_ok=True)
    (folder / "page.md").write_text(text)
    await Library(store.redis).learn([folder], scope=scope)


async def test_the_links_of_every_learned_page_are_known_in_any_form(store, known, tmp_path):
    await learn(
        store, tmp_path / "a", f"{WORDS}See [returns](https://docs.example.org/returns) or me@example.org."
    )
    links = await known.links_for(HERE)
    assert links.allows("http://DOCS.example.org/returns/#top")
    assert links.allows("mailto:me@example.org")
    assert not links.allows("https://docs.example.org/other")


async def test_links_learned_for_a_place_are_known_there_only(store, known, tmp_path):
    await learn(store, tmp_path / "a", f"{WORDS}https://inside.example/a", scope="slack:T1")
    assert (await known.links_for(HERE)).allows("https://inside.example/a")
    assert not (await known.links_for(ELSEWHERE)).allows("https://inside.example/a")


async def test_links_that_the_customer_wrote_are_known_in_that_turn_only(known):
    link = "https://customer.example/x?y=1"
    assert (await known.links_for(HERE, "Hello!", f"What about <{link}|this>?")).allows(link)
    assert (await known.links_for(HERE, "x" * 20_000, f" {link} ")).allows(link)
    assert not (await known.links_for(HERE, "Hello!")).allows(link)


async def test_allowed_hosts_are_known_with_any_path(known):
    links = await known.links_for(ELSEWHERE)
    assert links.allows("https://help.example.org/any/path?x=1")
    assert not links.allows("https://help.example.org.evil.example/")


async def test_where_a_web_page_was_learned_from_is_known(store, known):
    page = Document("p", "P", "No link in here.", source="https://docs.example.org/page")
    await store.redis.hset(DOCUMENTS_KEY, page.id, page.to_json())
    await store.redis.incr(VERSION_KEY)
    assert (await known.links_for(HERE)).allows("https://docs.example.org/page")


async def test_what_is_learned_changed_and_removed_is_noticed(store, known, at_once, tmp_path):
    first, second = "https://one.example/a", "https://two.example/b"
    assert not (await known.links_for(HERE)).allows(first)
    await learn(store, tmp_path / "a", f"{WORDS}{first}")
    assert (await known.links_for(HERE)).allows(first)
    await learn(store, tmp_path / "a", f"{WORDS}{second}")
    links = await known.links_for(HERE)
    assert links.allows(second) and not links.allows(first)
    await Library(store.redis).remove([str(tmp_path / "a")])
    assert not (await known.links_for(HERE)).allows(second)


async def test_the_version_is_looked_up_once_in_a_while(store, known, tmp_path):
    await known.links_for(HERE)
    before = (await store.redis.info("commandstats")).get("cmdstat_get", {"calls": 0})["calls"]
    await asyncio.gather(*(known.links_for(HERE) for _ in range(50)))
    after = (await store.redis.info("commandstats")).get("cmdstat_get", {"calls": 0})["calls"]
    assert after == before


async def test_what_was_known_stays_while_redis_is_away(store, known, at_once, tmp_path, monkeypatch):
    await learn(store, tmp_path / "a", f"{WORDS}https://one.example/a")
    assert (await known.links_for(HERE)).allows("https://one.example/a")

    async def away(*_):
        raise RedisDown("away")

    with monkeypatch.context() as patched:
        patched.setattr(store.redis, "get", away)
        assert (await known.links_for(HERE)).allows("https://one.example/a")
    await learn(store, tmp_path / "b", f"{WORDS}https://two.example/b")
    assert (await known.links_for(HERE)).allows("https://two.example/b")


async def test_a_document_that_cannot_be_read_costs_nothing_that_was_known(store, known, at_once, tmp_path):
    await learn(store, tmp_path / "a", f"{WORDS}https://one.example/a")
    await known.links_for(HERE)
    await store.redis.hset(DOCUMENTS_KEY, "broken", "{")
    await store.redis.incr(VERSION_KEY)
    assert (await known.links_for(HERE)).allows("https://one.example/a")


async def test_ten_thousand_documents_are_read_off_the_event_loop(store, known, at_once):
    text = (
        "# Page\n\n" + "Some words of a page, as they are written. " * 30 + "See https://docs.example.org/%d."
    )
    rows = {f"d{n}": Document(f"d{n}", "Page", text % n).to_json() for n in range(10_000)}
    await store.redis.hset(DOCUMENTS_KEY, mapping=rows)
    await store.redis.incr(VERSION_KEY)
    longest = asyncio.create_task(longest_pause())
    begun = time.process_time()
    links = await known.links_for(HERE)
    first = time.process_time() - begun
    await store.redis.incr(VERSION_KEY)
    begun = time.process_time()
    await known.links_for(HERE)
    again = time.process_time() - begun
    longest.cancel()
    assert links.allows("https://docs.example.org/9999") and not links.allows("https://docs.example.org/x")
    assert first < 4, "seconds of processor time"
    assert again < first, "what did not change is not taken apart again"
    assert await longest < max(0.5, first / 2)


async def longest_pause():
    """How long the event loop was not free at worst, in seconds, until cancelled."""
    longest, last = 0.0, time.monotonic()
    try:
        while True:
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
    except asyncio.CancelledError:
        return longest
