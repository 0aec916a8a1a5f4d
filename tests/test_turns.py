"""What is remembered of an unfinished turn."""

import pytest
from scripted import Leased, message

from bots import keys
from bots.message import Reply
from engine.types import Citation


async def test_a_new_turn_knows_nothing(store):
    state = await (await Leased(store).record(message())).begin()
    assert (state.attempts, state.reply, state.refs, state.is_retry) == (1, None, {}, False)


async def test_every_beginning_counts(store):
    question = message()
    record = await Leased(store).record(question)
    for _ in range(3):
        state = await record.begin()
    assert (state.attempts, state.is_retry) == (3, True)


async def test_another_message_of_the_conversation_counts_by_itself(store):
    leased = Leased(store)
    for _ in range(2):
        assert (await (await leased.record(message())).begin()).attempts == 1


async def test_reply_and_posts_are_there_for_the_next_attempt(store):
    question = message()
    record = await Leased(store).record(question)
    reply = Reply(
        "So.", "hand_over", 0.2, (Citation("help.md", "Returns", 0, 4, "text"),), "tiny", {"a": 1.0}
    )
    await record.begin()
    await record.store_reply(reply, "1-0")
    await record.store_ref(0, "first:1")
    await record.store_ref(11, "second")
    state = await record.begin()
    assert (state.reply, state.edit) == (reply, "1-0")
    assert state.refs == {0: "first:1", 11: "second"}


async def test_the_stored_reply_is_sealed_and_goes_away_by_itself(store):
    question = message()
    record = await Leased(store).record(question)
    await record.begin()
    await record.store_reply(Reply("a readable answer"), "")
    fields = await store.redis.hgetall(keys.turn(question.id))
    assert not [value for value in fields.values() if b"readable" in value]
    assert 0 < await store.redis.ttl(keys.turn(question.id)) <= 24 * 3600


@pytest.mark.parametrize("reply", ['{"text": "x", "citations": [], "colour": "blue"}', "{}"])
async def test_a_reply_that_another_version_stored_is_made_again(store, reply):
    question = message()
    record = await Leased(store).record(question)
    key = keys.turn(question.id)
    await store.redis.hset(key, "reply", store.envelope.seal(reply, key))
    assert (await record.begin()).reply is None


async def test_a_reply_sealed_with_another_key_is_made_again(store):
    question = message()
    record = await Leased(store).record(question)
    await store.redis.hset(keys.turn(question.id), "reply", b"\x01 sealed with another key")
    assert (await record.begin()).reply is None
