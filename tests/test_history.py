"""The history: appended to, trimmed by age alone, and forgotten for one person."""

import time

import pytest
from scripted import ANNA, BEN, Leased, conversation, message

from bots import keys
from bots.envelope import Envelope
from bots.history import History, Turn
from bots.message import ConversationKey, Reply
from engine.types import Citation

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def say(store):
    """Have a message and its reply put into the history, as the worker does."""
    leased = Leased(store)

    async def said(text, author=ANNA, channel="general", where=None):
        question = message(text, author=author, channel=channel)
        await store.inbox.put(question)
        (entry,) = await leased.take()
        await leased.finish(entry, store.history.entries(question, Reply(f"re: {text}")))

    return said


async def contents(store, channel="general"):
    return [turn.content for turn in await store.history.recent(conversation(channel))]


async def put_old(store, days, text="old"):
    """A turn as if it had been said some days ago."""
    entry = store.history.entry(conversation(), Turn("user", text, ANNA))
    then = int(time.time() * 1000) - days * DAY_MS
    fields = {"e": entry.sealed, "a": entry.author_index}
    await store.redis.xadd(keys.history(conversation()), fields, id=f"{then}-0")


async def test_turns_come_back_in_the_order_in_which_they_were_said(store, say):
    for number in range(3):
        await say(str(number))
    assert await contents(store) == ["0", "re: 0", "1", "re: 1", "2", "re: 2"]


async def test_a_turn_keeps_its_author_and_its_citations(store):
    citation = Citation("help.md", "Returns", 0, 4, "text")
    question = message("How?")
    for entry in store.history.entries(question, Reply("So.", citations=(citation,))):
        fields = {"e": entry.sealed, "a": entry.author_index}
        await store.redis.xadd(keys.history(conversation()), fields)
    user, assistant = await store.history.recent(conversation())
    assert (user.role, user.author, user.citations) == ("user", ANNA, ())
    assert (assistant.role, assistant.citations[0]["heading"]) == ("assistant", "Returns")


async def test_of_a_long_conversation_the_newest_turns_are_given_oldest_first(store, say):
    for number in range(4):
        await say(str(number))
    recent = await store.history.recent(conversation(), 3)
    assert [turn.content for turn in recent] == ["re: 2", "3", "re: 3"]


async def test_conversations_do_not_mix(store, say):
    await say("here", channel="a")
    await say("there", channel="b")
    assert await contents(store, "a") == ["here", "re: here"]


async def test_nothing_is_ever_rewritten(store, say):
    await say("first")
    before = await store.redis.xrange(keys.history(conversation()))
    await say("second")
    assert (await store.redis.xrange(keys.history(conversation())))[:2] == before


async def test_what_is_older_than_the_retention_time_is_not_shown_and_is_purged(store, say):
    await put_old(store, days=91)
    await put_old(store, days=89, text="younger")
    await say("new")
    assert await contents(store) == ["younger", "new", "re: new"]
    assert await store.redis.xlen(keys.history(conversation())) == 4
    assert await store.history.purge() == 1
    assert await store.history.purge() == 0
    assert await contents(store) == ["younger", "new", "re: new"]
    assert await store.redis.xlen(keys.history(conversation())) == 3


async def test_a_conversation_that_nobody_goes_on_with_expires_as_a_whole(store, say):
    await say("bye")
    seconds = await store.redis.ttl(keys.history(conversation()))
    assert 89 * 24 * 3600 < seconds <= 90 * 24 * 3600


async def test_purging_many_conversations_takes_each(store):
    for number in range(30):
        entry = store.history.entry(conversation(str(number)), Turn("user", "old", ANNA))
        fields = {"e": entry.sealed, "a": entry.author_index}
        await store.redis.xadd(keys.history(conversation(str(number))), fields, id="1000-0")
    assert await store.history.purge() == 30


async def test_forgetting_takes_one_authors_turns_and_replies_in_every_conversation(store, say):
    for channel in ("a", "b"):
        await say(f"anna in {channel}", ANNA, channel)
        await say(f"ben in {channel}", BEN, channel)
    assert await store.history.forget(conversation("a"), ANNA.id) == 4
    for channel in ("a", "b"):
        assert await contents(store, channel) == [f"ben in {channel}", f"re: ben in {channel}"]
    assert await store.history.conversations(conversation("a"), ANNA.id) == []
    assert await store.history.forget(conversation("a"), ANNA.id) == 0


async def test_where_somebody_took_part_is_known_in_that_workspace_only(store, say):
    await say("one", ANNA, "a")
    await say("two", ANNA, "b")
    found = await store.history.conversations(conversation("a"), ANNA.id)
    assert set(found) == {conversation("a"), conversation("b")}
    elsewhere = ConversationKey("test", "other", "a")
    assert await store.history.conversations(elsewhere, ANNA.id) == []
    assert await store.history.forget(elsewhere, ANNA.id) == 0
    assert await contents(store, "a") == ["one", "re: one"]


async def test_a_turn_that_does_not_open_is_left_out(store, say):
    await say("before")
    other = History(store.redis, Envelope(b"another key, also 32 bytes long.."), 90)
    await other.append(conversation(), [Turn("user", "sealed with another key", BEN)])
    await say("after")
    assert await contents(store) == ["before", "re: before", "after", "re: after"]
