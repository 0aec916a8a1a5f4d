"""The rolling summary stands beside the history, is sealed, and goes when somebody asks."""

from dataclasses import replace

import pytest

from bots import keys
from bots.desk import Desk
from bots.history import Turn
from bots.message import Author, ConversationKey, Message
from bots.registry import Registry
from bots.summaries import Summary
from engine.types import Outcome

HERE = ConversationKey("web", "local", "somebody")
ANNA = Author("anna", "Anna")


class Condensing:
    """An engine that writes down what it was asked and says how many turns there were."""

    def __init__(self):
        self.asked, self.meanwhile = [], None

    async def chat(self, request):
        self.asked.append(request)
        if self.meanwhile:
            await self.meanwhile()
        yield f"{len(request.turns)} turns, the last said {request.turns[-1].content}"
        yield Outcome()


@pytest.fixture
def engine():
    return Condensing()


@pytest.fixture
def desk(store, engine):
    return Desk(engine, store.history, store.summaries, store.privacy, Registry())


def message(text="and now?"):
    return Message("m1", HERE, ANNA, text, is_private=True)


async def say(store, first, last):
    roles = ("user", "assistant")
    turns = [Turn(roles[number % 2], f"turn {number}", ANNA) for number in range(first, last)]
    await store.history.append(HERE, turns)


async def test_there_is_none_before_there_is_much_to_tell(desk, store, engine):
    await say(store, 0, 10)
    await desk.remember(message())
    assert await store.summaries.read(HERE) == Summary()
    assert engine.asked == []


async def test_old_turns_are_folded_in_and_the_newest_stay_out(desk, store, engine):
    await say(store, 0, 20)
    await desk.remember(message())
    summary = await store.summaries.read(HERE)
    assert summary.text == "14 turns, the last said turn 13"
    assert [turn.content for turn in await store.history.after(HERE, summary.covers)] == [
        f"turn {number}" for number in range(14, 20)
    ]
    assert engine.asked[0].task == "condense"


async def test_the_next_one_is_made_from_the_last_one_and_what_came_since(desk, store, engine):
    await say(store, 0, 20)
    await desk.remember(message())
    await desk.remember(message())
    assert len(engine.asked) == 1
    await say(store, 20, 32)
    await desk.remember(message())
    first, second = engine.asked
    assert (first.summary, second.summary) == ("", "14 turns, the last said turn 13")
    assert second.turns[0].content == "turn 14"
    assert (await store.summaries.read(HERE)).text == "12 turns, the last said turn 25"


async def test_the_history_keeps_every_turn(desk, store):
    await say(store, 0, 40)
    await desk.remember(message())
    assert len(await store.history.recent(HERE)) == 40


async def test_a_question_brings_the_summary_along(desk, store, engine):
    await say(store, 0, 20)
    await store.summaries.replace(HERE, Summary("They spoke of knives.", "1-1"))
    async for _ in desk.answer(message()):
        pass
    assert engine.asked[0].summary == "They spoke of knives."


async def test_it_is_sealed_and_its_time_runs_from_the_first(store):
    await store.summaries.replace(HERE, Summary("They spoke of knives.", "1-1"))
    await store.redis.expire(keys.summary(HERE), 100)
    await store.summaries.replace(HERE, Summary("And of forks.", "2-1"))
    assert await store.redis.ttl(keys.summary(HERE)) <= 100
    assert b"forks" not in await store.redis.get(keys.summary(HERE))
    assert await store.summaries.read(HERE) == Summary("And of forks.", "2-1")


async def test_who_is_forgotten_is_in_no_summary(store):
    await store.summaries.replace(HERE, Summary("Anna spoke of knives.", "1-1"))
    await store.privacy.forget(HERE, "anna")
    assert await store.summaries.read(HERE) == Summary()


async def test_one_that_cannot_be_opened_counts_as_none(store):
    await store.redis.set(keys.summary(HERE), b"from another key")
    assert await store.summaries.read(HERE) == Summary()


async def test_one_that_is_made_while_somebody_is_forgotten_is_dropped(desk, store, engine):
    await say(store, 0, 20)
    engine.meanwhile = lambda: store.privacy.forget(HERE, "anna")
    await desk.remember(message())
    assert len(engine.asked) == 1
    assert await store.summaries.read(HERE) == Summary()
    await say(store, 20, 40)
    engine.meanwhile = None
    await desk.remember(message())
    assert "turn" in (await store.summaries.read(HERE)).text


async def test_one_that_was_begun_while_the_turns_were_being_deleted_is_dropped(store, monkeypatch):
    delete, begun = store.history.forget, []

    async def begin_and_delete(*where):
        begun.append(await store.summaries.read(HERE))
        return await delete(*where)

    monkeypatch.setattr(store.history, "forget", begin_and_delete)
    await store.privacy.forget(HERE, "anna")
    assert not await store.summaries.replace(HERE, replace(begun[0], text="Anna spoke of knives."))
    assert await store.summaries.read(HERE) == Summary()
