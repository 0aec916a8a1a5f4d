"""Questions that are edited or deleted, and answers that nobody wants any more."""

import asyncio

import pytest
from scripted import (
    ANNA,
    BEN,
    HANG,
    HoldAt,
    Leased,
    ScriptedEngine,
    ScriptedSender,
    conversation,
    killed,
    message,
    nothing,
    until,
    until_answered,
    working,
)

from bots import keys
from bots.message import Change, Reply

LONG = "You have thirty days to return it, and the postage is ours to pay."


def edit(question, text, author=ANNA):
    return Change("edit", question.conversation, question.id, author.id, text)


def echo(request):
    """The answer to what the question says; to `hang` there is none."""
    asked = request.turns[-1].content
    return HANG if "hang" in asked else f"re: {asked}"


async def roles(store):
    return [turn.role for turn in await store.history.recent(conversation())]


async def test_a_question_edited_while_it_waits_is_answered_as_it_reads_now(store):
    question = message("How long?")
    await store.intake.receive(question)
    await store.intake.change(edit(question, "How much?"))
    sender = ScriptedSender()
    async with working(store, ScriptedEngine(echo), sender):
        await until_answered(store)
    assert sender.texts() == ["re: How much?"]
    assert [turn.content for turn in await store.history.recent(conversation())] == [
        "How much?",
        "re: How much?",
    ]


async def test_a_question_edited_while_it_is_answered_is_answered_again_in_the_same_post(store):
    hook, sender = HoldAt("posted"), ScriptedSender(once_only=True)
    sender._at = hook
    engine, question = ScriptedEngine([LONG, "Five euros, whatever it is that you have bought."]), message()
    async with working(store, engine, sender):
        await store.intake.receive(question)
        await asyncio.wait_for(hook.reached.wait(), 5)
        sender._at = nothing
        await store.intake.change(edit(question, "What does it cost?"))
        await until_answered(store)
    assert sender.texts() == ["Five euros, whatever it is that you have bought."]
    assert engine.asked[-1] == "What does it cost?"
    assert await roles(store) == ["user", "assistant"]


async def test_sensitive_values_of_an_edit_are_taken_out(store):
    question = message("hang")
    sender = ScriptedSender()
    engine = ScriptedEngine(echo)
    async with working(store, engine, sender):
        await store.intake.receive(question)
        await until(lambda: engine.requests)
        await store.intake.change(edit(question, "I am jane.doe@mail.example"))
        await until_answered(store)
    assert engine.asked[-1] == "I am <EMAIL_ADDRESS_1>"


async def test_only_its_author_edits_a_question(store):
    question, sender = message("How long?"), ScriptedSender()
    await store.intake.receive(question)
    await store.intake.change(edit(question, "How much?", BEN))
    async with working(store, ScriptedEngine(echo), sender):
        await until_answered(store)
    assert sender.texts() == ["re: How long?"]


@pytest.mark.parametrize("kind", ["edit", "delete", "stop"])
async def test_what_happens_to_a_question_that_is_answered_changes_nothing(store, kind):
    question, sender = message("How long?"), ScriptedSender()
    async with working(store, ScriptedEngine(echo), sender):
        await store.intake.receive(question)
        await until_answered(store)
        await store.intake.change(Change(kind, question.conversation, question.id, ANNA.id, "Something else"))
        await until_answered(store)
    assert sender.texts() == ["re: How long?"]
    assert await roles(store) == ["user", "assistant"]


async def test_a_deleted_question_takes_its_answer_with_it(store):
    sender, question = ScriptedSender(), message()
    engine = ScriptedEngine(LONG, pause=0.05)
    async with working(store, engine, sender):
        await store.intake.receive(question)
        await until(sender.texts)
        await store.intake.change(Change("delete", question.conversation, question.id))
        await until_answered(store)
    assert sender.texts() == []
    assert await roles(store) == []


async def test_a_question_deleted_while_it_waits_is_not_asked(store):
    question, engine, sender = message(), ScriptedEngine(), ScriptedSender()
    await store.intake.receive(question)
    await store.intake.change(Change("delete", question.conversation, question.id))
    async with working(store, engine, sender):
        await until_answered(store)
    assert (engine.requests, sender.shown) == ([], [])


async def test_a_stopped_answer_keeps_what_was_said(store):
    sender, question = ScriptedSender(), message()
    engine = ScriptedEngine(LONG, pause=0.05)
    async with working(store, engine, sender):
        await store.intake.receive(question)
        await until(sender.texts)
        await store.intake.change(Change("stop", question.conversation))
        await until_answered(store)
    (text,) = sender.texts()
    said = text.removesuffix("\n\n(stopped)")
    assert said != text
    assert LONG.startswith(said) and 20 <= len(said) < len(LONG)
    turns = await store.history.recent(conversation())
    assert [turn.content for turn in turns] == [question.text, said]


async def test_stopping_a_hung_answer_frees_the_conversation(store):
    sender, engine = ScriptedSender(), ScriptedEngine(echo)
    async with working(store, engine, sender):
        for text in ("hang", "hang again", "How long?"):
            await store.intake.receive(message(text))
        await until(lambda: engine.requests)
        await store.intake.change(Change("stop", conversation()))
        await until(lambda: len(sender.texts()) == 3)
        await store.intake.receive(message("And how much?"))
        await until_answered(store)
    assert sender.texts() == [*["(stopped)"] * 3, "re: And how much?"]


async def test_an_event_that_arrives_twice_counts_once(store):
    question = message()
    await store.intake.receive(question)
    for _ in range(3):
        await store.intake.change(edit(question, "How much?"), "event:1")
    assert await store.inbox.backlog() == 2


async def test_an_edit_outlives_the_worker_that_saw_it(store):
    question, engine = message("hang"), ScriptedEngine(echo)
    async with killed(store, engine, ScriptedSender()):
        await store.intake.receive(question)
        await until(lambda: engine.requests)
        await store.intake.change(edit(question, "hang on, how much?"))
        await until(lambda: len(engine.requests) == 2)
    sender, second = ScriptedSender(), ScriptedEngine("Five euros.")
    async with working(store, second, sender):
        await until_answered(store)
    assert (second.asked, sender.texts()) == (["hang on, how much?"], ["Five euros."])


async def test_a_stored_reply_to_what_the_question_said_before_is_not_sent(store):
    question = message("How long?")
    leased = Leased(store)
    await store.intake.receive(question)
    record = await leased.record(question)
    await record.begin()
    await record.store_reply(Reply("re: How long?"), "")
    await leased.partitions.leave()
    await store.intake.change(edit(question, "How much?"))
    sender = ScriptedSender()
    async with working(store, ScriptedEngine(echo), sender):
        await until_answered(store)
    assert sender.texts() == ["re: How much?"]


async def test_of_six_quick_edits_the_last_one_is_answered(store):
    question, sender, engine = message("hang"), ScriptedSender(), ScriptedEngine(echo)
    async with working(store, engine, sender):
        await store.intake.receive(question)
        await until(lambda: engine.requests)
        for text in (*(f"hang {number}" for number in range(5)), "How much?"):
            await store.intake.change(edit(question, text))
            await until(lambda text=text: engine.asked[-1] == text)
        await until_answered(store)
    assert sender.texts() == ["re: How much?"]
    assert await store.redis.xlen(keys.DEAD_LETTERS) == 0


async def test_a_delete_counts_after_any_number_of_edits(store):
    question, sender, engine = message("hang"), ScriptedSender(), ScriptedEngine(echo)
    async with working(store, engine, sender):
        await store.intake.receive(question)
        await until(lambda: engine.requests)
        for number in range(12):
            await store.intake.change(edit(question, f"hang {number}"))
        await until(lambda: engine.asked[-1] == "hang 9")  # those after it are not followed
        await store.intake.change(Change("delete", question.conversation, question.id))
        await until_answered(store)
    assert (sender.texts(), await roles(store)) == ([], [])
    assert await store.redis.xlen(keys.DEAD_LETTERS) == 0


async def test_a_delete_takes_away_a_post_whose_answer_never_came(store):
    # Given a post that took effect and was interrupted by an edit before its id was known
    hook, question = HoldAt("posted"), message()
    engine = ScriptedEngine(lambda request: HANG if "hang" in request.turns[-1].content else LONG)
    sender = ScriptedSender(at=hook)
    async with working(store, engine, sender):
        await store.intake.receive(question)
        await asyncio.wait_for(hook.reached.wait(), 5)
        sender._at = nothing
        await store.intake.change(edit(question, "hang"))
        await until(lambda: engine.asked[-1] == "hang")
        assert len(sender.texts()) == 1
        # When the question is deleted
        await store.intake.change(Change("delete", question.conversation, question.id))
        await until_answered(store)
    # Then that post goes too
    assert sender.texts() == []


async def test_a_change_that_comes_while_the_worker_drains_is_not_lost(store):
    hook, question, sender = HoldAt("streaming"), message(), ScriptedSender()
    async with working(store, ScriptedEngine(LONG, at=hook), sender) as stop:
        await store.intake.receive(question)
        await asyncio.wait_for(hook.reached.wait(), 5)
        stop.set()
        await until(lambda: has_one_lease(store))
        await store.intake.change(Change("delete", question.conversation, question.id))
        await until_answered(store)
    assert sender.shown
    assert sender.texts() == []


async def has_one_lease(store):
    return await store.redis.hlen(keys.LEASES) == 1
