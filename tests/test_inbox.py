"""The durable inbox: accepted once, gone only when finished, unreadable in Redis."""

import asyncio

import pytest
from scripted import ANNA, ScriptedEngine, ScriptedSender, conversation, message, raw_redis, until, working

from bots import keys
from bots.envelope import Envelope
from bots.errors import LeaseLost
from bots.history import History, Turn
from bots.inbox import Inbox
from bots.message import Reply

WAIT_MS = 20


@pytest.fixture
async def inbox(store):
    await store.inbox.prepare()
    return store.inbox


@pytest.fixture
async def fence(store):
    """What a worker holds that may change state."""
    await store.lease.acquire()
    return store.lease.token


async def taken(inbox, count=100):
    return [entry.message.text for entry in await inbox.take(count, WAIT_MS)]


async def test_a_message_comes_out_as_it_went_in(inbox):
    sent = message("héllo 👋", attachments=["file"], address={"ts": "1.2"}, is_private=True)
    await inbox.put(sent)
    (entry,) = await inbox.take(1, WAIT_MS)
    assert entry.message == sent


async def test_a_message_is_accepted_once_per_id(inbox):
    assert await inbox.put(message("first", id="test:1"))
    assert not await inbox.put(message("again", id="test:1"))
    assert await taken(inbox) == ["first"]


async def test_of_many_deliveries_at_once_one_is_accepted(inbox):
    accepted = await asyncio.gather(*(inbox.put(message(id="test:1")) for _ in range(20)))
    assert accepted.count(True) == 1
    assert await inbox.backlog() == 1


async def test_a_delivery_after_the_answer_is_still_recognised(inbox, fence):
    await inbox.put(message(id="test:1"))
    (entry,) = await inbox.take(1, WAIT_MS)
    await inbox.finish(entry, fence)
    assert not await inbox.put(message(id="test:1"))


@pytest.mark.parametrize("order", [("event:a", "event:b"), ("event:b", "event:a")])
async def test_two_events_of_one_gesture_are_one_message(inbox, order):
    for event in order:
        await inbox.put(message("mention", id=event), also=["gesture"])
    assert await taken(inbox) == ["mention"]


async def test_a_message_that_is_refused_for_one_claim_makes_no_other_claim(inbox):
    await inbox.put(message(id="a"), also=["shared"])
    assert not await inbox.put(message(id="b"), also=["shared"])
    assert await inbox.put(message(id="b"))


async def test_messages_are_taken_oldest_first_and_each_once(inbox):
    for number in range(5):
        await inbox.put(message(str(number)))
    assert await taken(inbox, 3) == ["0", "1", "2"]
    assert await taken(inbox) == ["3", "4"]
    assert await taken(inbox) == []


async def test_what_was_put_before_the_group_existed_is_taken(store):
    await store.inbox.put(message("early"))
    await store.inbox.prepare()
    assert await taken(store.inbox) == ["early"]


async def test_a_finished_message_is_gone_and_its_turns_are_in_the_history(store, inbox, fence):
    question = message("How?")
    await inbox.put(question)
    (entry,) = await inbox.take(1, WAIT_MS)
    await inbox.finish(entry, fence, store.history.entries(question, Reply("So.")))
    assert await inbox.backlog() == 0
    assert await inbox.leftovers() == []
    turns = await store.history.recent(conversation())
    assert [turn.content for turn in turns] == ["How?", "So."]


async def test_what_a_dead_worker_left_is_found_again_oldest_first(inbox, fence):
    for number in range(250):
        await inbox.put(message(str(number)))
    entries = await inbox.take(250, WAIT_MS)
    await inbox.finish(entries[0], fence)
    left = await inbox.leftovers()
    assert [entry.message.text for entry in left] == [str(number) for number in range(1, 250)]


@pytest.mark.parametrize("act", ["finish", "bury"])
async def test_without_the_lease_nothing_is_changed(store, inbox, act):
    question = message()
    await inbox.put(question)
    (entry,) = await inbox.take(1, WAIT_MS)
    await store.turns.begin(question)
    turns = store.history.entries(question, Reply("So."))
    for holder in (None, "another worker"):
        if holder:
            await store.redis.set(keys.WORKER_LEASE, holder)
        with pytest.raises(LeaseLost):
            await (
                inbox.finish(entry, "mine", turns) if act == "finish" else inbox.bury(entry, "mine", "why")
            )
    assert [found.message for found in await inbox.leftovers()] == [question]
    assert await store.history.recent(conversation()) == []
    assert await store.redis.exists(keys.turn(question.id))
    assert not await store.redis.exists(keys.DEAD_LETTERS)


async def test_a_buried_message_is_kept_sealed_with_its_reason(store, inbox, fence):
    await inbox.put(message("a secret question"))
    (entry,) = await inbox.take(1, WAIT_MS)
    await inbox.bury(entry, fence, "no such channel")
    assert await inbox.backlog() == 0
    ((_, fields),) = await store.redis.xrange(keys.DEAD_LETTERS)
    assert fields[b"reason"] == b"no such channel"
    assert b"secret" not in fields[b"m"]
    assert "a secret question" in store.envelope.open(fields[b"m"], "inbox")


async def test_two_takers_never_get_the_same_message(inbox):
    for number in range(60):
        await inbox.put(message(str(number)))
    halves = await asyncio.gather(*(taken(inbox, 7) for _ in range(12)))
    texts = [text for half in halves for text in half]
    assert sorted(texts, key=int) == [str(number) for number in range(60)]


async def test_taking_waits_for_a_message(inbox):
    waiting = asyncio.create_task(inbox.take(1, 5000))
    await asyncio.sleep(0.05)
    await inbox.put(message("at last"))
    (entry,) = await asyncio.wait_for(waiting, 1)
    assert entry.message.text == "at last"


async def test_after_redis_lost_everything_the_worker_goes_on(store):
    sender = ScriptedSender()
    async with working(store, ScriptedEngine("Yes."), sender):
        await store.inbox.put(message())
        await until(lambda: len(sender.texts()) == 1)
        await store.redis.flushall()
        await store.inbox.put(message())
        await until(lambda: len(sender.texts()) == 2, 15)


async def test_a_group_that_is_gone_is_made_again_and_reads_from_the_start(store, inbox):
    await store.redis.flushall()
    await inbox.put(message("after the loss"))
    assert await taken(inbox) == []
    assert await taken(inbox) == ["after the loss"]


async def test_an_entry_sealed_with_another_key_stays_where_it_is(store, inbox):
    other = Inbox(store.redis, store.redis, Envelope(b"another key, also 32 bytes long.."), 90)
    await other.put(message("not for you"))
    await inbox.put(message("for you"))
    assert await taken(inbox) == ["for you"]
    assert [entry.message.text for entry in await inbox.leftovers()] == ["for you"]
    assert await inbox.backlog() == 2
    assert {entry.message.text for entry in await other.leftovers()} == {"not for you"}


async def test_an_entry_that_another_version_wrote_stays_where_it_is(store, inbox):
    sealed = store.envelope.seal('{"id": "x", "colour": "blue"}', "inbox")
    await store.redis.xadd(keys.INBOX, {"m": sealed})
    await inbox.put(message("readable"))
    assert await taken(inbox) == ["readable"]
    assert await inbox.backlog() == 2


async def test_nothing_that_was_said_can_be_read_in_redis(store, inbox, fence):
    """Every value of every key, while a message waits, is worked on, is finished and is given up."""
    question = message("Wo ist mein Paket?", author=ANNA, attachments=["Anlage dazu"])
    await inbox.put(question)
    seen = [await raw_redis(store.redis)]
    (entry,) = await inbox.take(1, WAIT_MS)
    await store.turns.begin(question)
    await store.turns.store_reply(question, Reply("Unterwegs zu dir."))
    seen.append(await raw_redis(store.redis))
    await inbox.finish(entry, fence, store.history.entries(question, Reply("Unterwegs zu dir.")))
    await inbox.put(message("Wo ist mein Paket?"))
    (entry,) = await inbox.take(1, WAIT_MS)
    await inbox.bury(entry, fence, "refused")
    seen.append(await raw_redis(store.redis))
    for raw in seen:
        assert len(raw) > 500
        for plain in ("Paket", "Unterwegs", "Anlage", "Anna"):
            assert plain not in raw


async def test_a_history_sealed_for_one_conversation_does_not_open_in_another(store):
    history: History = store.history
    await history.append(conversation("a"), [Turn("user", "hello", ANNA)])
    await store.redis.rename(keys.history(conversation("a")), keys.history(conversation("b")))
    assert await history.recent(conversation("b")) == []
