"""The durable inbox: accepted once, gone only when finished, unreadable in Redis."""

import asyncio

import pytest
from scripted import (
    ANNA,
    Leased,
    ScriptedEngine,
    ScriptedSender,
    conversation,
    message,
    raw_redis,
    until,
    working,
)

from bots import keys
from bots.envelope import Envelope
from bots.errors import LeaseLost
from bots.history import History, Turn
from bots.inbox import Inbox
from bots.limits import Limits
from bots.message import Reply
from bots.settings import Settings


@pytest.fixture
def inbox(store):
    return store.inbox


@pytest.fixture
def leased(store):
    return Leased(store)


async def test_a_message_comes_out_as_it_went_in(inbox, leased):
    sent = message("héllo 👋", attachments=["file"], address={"ts": "1.2"}, is_private=True)
    await inbox.put(sent)
    (entry,) = await leased.take()
    assert entry.content == sent


async def test_a_message_is_accepted_once_per_id(inbox, leased):
    assert await inbox.put(message("first", id="test:1"))
    assert not await inbox.put(message("again", id="test:1"))
    assert await leased.texts() == ["first"]


async def test_of_many_deliveries_at_once_one_is_accepted(inbox, leased):
    accepted = await asyncio.gather(*(inbox.put(message(id="test:1")) for _ in range(20)))
    assert accepted.count(True) == 1
    assert await inbox.backlog() == 1


async def test_a_delivery_after_the_answer_is_still_recognised(inbox, leased):
    await inbox.put(message(id="test:1"))
    (entry,) = await leased.take()
    await leased.finish(entry)
    assert not await inbox.put(message(id="test:1"))


@pytest.mark.parametrize("order", [("event:a", "event:b"), ("event:b", "event:a")])
async def test_two_events_of_one_gesture_are_one_message(inbox, leased, order):
    for event in order:
        await inbox.put(message("mention", id=event), also=["gesture"])
    assert await leased.texts() == ["mention"]


async def test_a_message_that_is_refused_for_one_claim_makes_no_other_claim(inbox, leased):
    await inbox.put(message(id="a"), also=["shared"])
    assert not await inbox.put(message(id="b"), also=["shared"])
    assert await inbox.put(message(id="b"))


async def test_a_conversations_messages_are_taken_oldest_first_and_each_once(inbox, leased):
    for number in range(5):
        await inbox.put(message(str(number)))
    first = await leased.take(3)
    assert [entry.content.text for entry in first] == ["0", "1", "2"]
    after = {first[-1].partition: first[-1].id}
    assert await leased.texts(after=after) == ["3", "4"]


async def test_conversations_are_spread_over_the_partitions(inbox, leased):
    for channel in range(300):
        await inbox.put(message(channel=str(channel)))
    partitions = {entry.partition for entry in await leased.take()}
    assert len(partitions) == keys.PARTITIONS


async def test_a_finished_message_is_gone_and_its_turns_are_in_the_history(store, inbox, leased):
    question = message("How?")
    await inbox.put(question)
    (entry,) = await leased.take()
    await leased.finish(entry, store.history.entries(question, Reply("So.")))
    assert await inbox.backlog() == 0
    turns = await store.history.recent(conversation())
    assert [turn.content for turn in turns] == ["How?", "So."]


async def test_what_is_finished_or_buried_twice_counts_once(store, inbox, leased):
    for channel in "ab":
        await inbox.put(message(channel=channel))
    answered, refused = await leased.take()
    turns = store.history.entries(answered.content, Reply("So."))
    for _ in range(2):  # the answer to the first was lost
        await leased.finish(answered, turns)
        await leased.bury(refused, "no such channel")
    assert len(await store.history.recent(answered.content.conversation)) == 2
    assert await store.redis.xlen(keys.DEAD_LETTERS) == 1
    counted = await store.redis.hgetall(keys.COUNTERS)
    assert (counted[b"answered"], counted[b"dead"]) == (b"1", b"1")


@pytest.mark.parametrize("act", ["finish", "bury", "drop", "begin", "store_reply", "store_ref"])
async def test_without_the_partition_nothing_is_changed(store, inbox, leased, act):
    # Given a message that is being answered
    question = message()
    await inbox.put(question)
    (entry,) = await leased.take()
    record, token = await leased.record(question), await leased.token(entry.partition)
    await record.begin()
    before = await raw_redis(store.redis)
    # When another has the partition
    await leased.lose()
    after = await raw_redis(store.redis)
    # Then no step of the first changes anything
    turns = store.history.entries(question, Reply("So."))
    acts = {
        "finish": lambda: inbox.finish([entry], token, turns),
        "bury": lambda: inbox.bury([entry], token, "why", 1),
        "drop": lambda: inbox.drop(entry, token),
        "begin": record.begin,
        "store_reply": lambda: record.store_reply(Reply("So."), ""),
        "store_ref": lambda: record.store_ref(0, "1"),
    }
    with pytest.raises(LeaseLost):
        await acts[act]()
    assert await raw_redis(store.redis) == after != before


async def test_a_buried_message_is_kept_sealed_with_its_reason(store, inbox, leased):
    await inbox.put(message("a secret question"))
    (entry,) = await leased.take()
    await leased.bury(entry, "no such channel")
    assert await inbox.backlog() == 0
    ((_, fields),) = await store.redis.xrange(keys.DEAD_LETTERS)
    assert fields[b"reason"] == b"no such channel"
    assert b"secret" not in fields[b"m"]
    assert "a secret question" in store.envelope.open(fields[b"m"], "inbox")


async def test_taking_waits_for_a_message(inbox, leased):
    waiting = asyncio.create_task(leased.take(wait_ms=5000))
    await asyncio.sleep(0.05)
    await inbox.put(message("at last"))
    (entry,) = await asyncio.wait_for(waiting, 1)
    assert entry.content.text == "at last"


async def test_after_redis_lost_everything_the_worker_goes_on(store):
    sender = ScriptedSender()
    async with working(store, ScriptedEngine("Yes."), sender):
        await store.inbox.put(message())
        await until(lambda: len(sender.texts()) == 1)
        await store.redis.flushall()
        await store.inbox.put(message())
        await until(lambda: len(sender.texts()) == 2, 15)


async def test_an_entry_sealed_with_another_key_stays_where_it_is(store, inbox, leased):
    other = Inbox(
        store.redis, store.redis, Envelope(b"another key, also 32 bytes long.."), 90, Limits(Settings())
    )
    await other.put(message("not for you"))
    await inbox.put(message("for you"))
    assert await leased.texts() == ["for you"]
    assert await inbox.backlog() == 2
    assert await leased.texts(inbox=other) == ["not for you"]


async def test_an_entry_that_another_version_wrote_stays_where_it_is(store, inbox, leased):
    sealed = store.envelope.seal('{"id": "x", "colour": "blue"}', "inbox")
    await store.redis.xadd(keys.inbox(0), {"m": sealed, "p": "test"})
    await inbox.put(message("readable"))
    assert await leased.texts() == ["readable"]
    assert await inbox.backlog() == 2


async def test_what_an_older_version_left_is_answered_in_its_order(store):
    for number in range(20):
        sealed = store.envelope.seal(message(str(number), channel=str(number % 2)).to_json(), "inbox")
        await store.redis.xadd(keys.OLD_INBOX, {"m": sealed})
    sender = ScriptedSender()
    async with working(store, ScriptedEngine(lambda request: request.turns[-1].content), sender):
        await until(lambda: len(sender.texts()) == 20)
    assert sender.texts("0") == [str(number) for number in range(0, 20, 2)]
    assert sender.texts("1") == [str(number) for number in range(1, 20, 2)]
    assert not await store.redis.xlen(keys.OLD_INBOX)


async def test_an_older_versions_worker_is_left_its_messages(store, inbox):
    await store.redis.xadd(keys.OLD_INBOX, {"m": store.envelope.seal(message().to_json(), "inbox")})
    await store.redis.set(keys.OLD_LEASE, "it works")
    assert await inbox.adopt() == 0
    await store.redis.delete(keys.OLD_LEASE)
    assert await inbox.adopt() == 1
    assert await inbox.backlog() == 1


async def test_a_hundred_old_entries_are_adopted_at_a_time_and_sealed_ones_are_passed_by(
    store, inbox, caplog
):
    async with store.redis.pipeline() as pipe:
        for _ in range(100):
            pipe.xadd(keys.OLD_INBOX, {"m": b"\x01sealed with another key"})
        for number in range(150):
            sealed = store.envelope.seal(message(channel=str(number)).to_json(), "inbox")
            pipe.xadd(keys.OLD_INBOX, {"m": sealed})
        await pipe.execute()
    assert [await inbox.adopt() for _ in range(4)] == [0, 100, 50, 0]
    assert await inbox.backlog() == 150
    assert await store.redis.xlen(keys.OLD_INBOX) == 100
    assert caplog.text.count("cannot be opened") == 100  # each once


async def test_nothing_that_was_said_can_be_read_in_redis(store, inbox, leased):
    """Every value of every key, while a message waits, is worked on, is finished and is given up."""
    question = message("Wo ist mein Paket?", author=ANNA, attachments=["Anlage dazu"])
    await inbox.put(question)
    seen = [await raw_redis(store.redis)]
    (entry,) = await leased.take()
    record = await leased.record(question)
    await record.begin()
    await record.store_reply(Reply("Unterwegs zu dir."), "")
    seen.append(await raw_redis(store.redis))
    await leased.finish(entry, store.history.entries(question, Reply("Unterwegs zu dir.")))
    await inbox.put(message("Wo ist mein Paket?"))
    (entry,) = await leased.take()
    await leased.bury(entry, "refused")
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
