"""The relay: what the worker says reaches whoever follows, in order, resumably, and sealed."""

import asyncio
from contextlib import aclosing

import pytest
from scripted import conversation, message, raw_redis

from bots.errors import FileRefused
from bots.message import Attachment, Part, Provisional, Reply
from bots.relay import RelaySender
from engine.types import Citation, Progress, TextFile


@pytest.fixture
def sender(store):
    return RelaySender(store.relay)


async def events(store, after="0-0"):
    """Everything that is there behind `after`, with ids."""
    found = []
    async with aclosing(store.relay.follow(conversation(), after, wait_ms=1)) as followed:
        async for item in followed:
            if item is None:
                return found
            found.append(item)


async def kinds(store):
    return [event["kind"] for _, event in await events(store)]


async def finish(sender, asked, text="You have thirty days.", options=(), **reply):
    await sender.finish(
        asked, [Part(asked.id, text[:8]), Part(asked.id, text[8:])], Reply(text, **reply), options
    )


async def test_an_answer_is_told_from_its_beginning_to_its_end(store, sender):
    asked = message("How long?")
    await sender.typing(asked)
    assert await sender.progress(asked, Provisional("Reading: 1 of 2", Progress(1, 2)))
    assert await sender.post(asked, "You", nonce="n", is_retry=False, is_growing=True) == asked.id
    await sender.edit(asked, asked.id, "You have", is_growing=True)
    await finish(sender, asked)
    told = [event for _, event in await events(store)]
    assert [event["kind"] for event in told] == ["typing", "progress", "text", "text", "done"]
    assert all(event["turn"] == asked.id for event in told)
    assert told[1] == {**told[1], "text": "Reading: 1 of 2", "done": 1, "total": 2}
    assert [event["text"] for event in told[2:4]] == ["You", "You have"]


async def test_the_end_says_what_was_answered_and_what_may_be_asked(store, sender):
    asked = message("How long?")
    citation = Citation("returns.md", "Returns", 0, 4, "Text")
    reply = {"citations": (citation,), "decision": "ask_back", "files": (TextFile("a.md", "<CARD_1>"),)}
    await finish(sender, asked, options=["Returns?", "None of these"], **reply)
    ((_, done),) = await events(store)
    assert (done["text"], done["question"], done["decision"]) == (
        "You have thirty days.",
        "How long?",
        "ask_back",
    )
    assert done["options"] == ["Returns?", "None of these"]
    assert done["citations"][0]["quote"] == "Text"
    assert "files" not in done  # each came as an event of its own, with values where they may be seen


async def test_a_file_is_an_event_of_its_own(store, sender):
    asked = message()
    assert await sender.post_file(asked, TextFile("a.md", "text"), nonce="n", is_retry=False) == asked.id
    ((_, event),) = await events(store)
    assert event == {**event, "kind": "file", "turn": asked.id, "nonce": "n", "name": "a.md", "text": "text"}


@pytest.mark.parametrize("unasked", [{"job": "daily"}, {"notice": "I am back."}])
async def test_what_nobody_asked_for_is_a_post_without_an_end(store, sender, unasked):
    said = message("", **unasked)
    await sender.post(said, "I am back.", nonce="n", is_retry=False, is_growing=False)
    await finish(sender, said)
    assert await kinds(store) == ["post"]


async def test_a_deleted_question_is_told(store, sender):
    asked = message()
    await sender.delete(asked, asked.id)
    await sender.finish(asked, [], Reply("", decision="stopped"), [])
    ((_, event),) = await events(store)
    assert event == {"kind": "deleted", "turn": asked.id}


async def test_who_comes_back_sees_what_was_missed_and_nothing_twice(store, sender):
    asked = message()
    for text in ("one", "one two", "one two three"):
        await sender.edit(asked, asked.id, text, is_growing=True)
    everything = await events(store)
    assert [event["text"] for _, event in await events(store, everything[0][0])] == [
        "one two",
        "one two three",
    ]
    assert await store.relay.position(conversation()) == everything[-1][0]
    assert await events(store, everything[-1][0]) == []


async def test_who_waits_is_told_at_once(store, sender):
    async with aclosing(store.relay.follow(conversation(), "0-0")) as followed:
        waiting = asyncio.create_task(anext(followed))
        await sender.typing(message())
        _, event = await asyncio.wait_for(waiting, 5)
        assert event["kind"] == "typing"


async def test_another_conversation_hears_nothing(store, sender):
    await sender.typing(message(channel="elsewhere"))
    assert await events(store) == []
    assert await store.relay.position(conversation()) == "0-0"


async def test_what_is_said_is_sealed_and_does_not_stay(store, sender):
    await sender.edit(message(), "ref", "a secret word", is_growing=False)
    assert "secret" not in await raw_redis(store.redis)
    (key,) = await store.redis.keys("frontdesk:relay:*")
    assert 0 < await store.redis.ttl(key) <= 3600


async def test_files_come_with_the_message_and_names_are_not_asked_for(sender):
    assert await sender.name_of(message()) == ""
    with pytest.raises(FileRefused):
        await sender.fetch(message(), Attachment("a.txt"))
