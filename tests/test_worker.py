"""The worker: order, concurrency, failures, and exactly one answer whatever dies in between."""

import asyncio
import contextlib
import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import scripted
from running import background
from scripted import (
    ANNA,
    HANG,
    HoldAt,
    Leased,
    ScriptedEngine,
    ScriptedSender,
    conversation,
    killed,
    message,
    until,
    until_answered,
    working,
)

import bots.partitions
import bots.turn
import bots.worker
from bots import keys
from bots.errors import PlatformBusy, PlatformRefused
from bots.history import Turn
from bots.message import Reply
from bots.partitions import survey
from bots.turns import TurnRecord
from engine.errors import Unavailable
from engine.types import Outcome, Window

STEPS = ["asked", "streaming", "generated", "post", "posted", "edit", "edited", "finish", "finished"]
# Long enough to be shown while it grows, so that every step is passed.
ANSWER = "You have thirty days to return it, and the postage is ours to pay."
# Steps after which the text is stored, so that the next worker sends the same.
STORED = {"finish", "finished"}


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    short = {"BUSY_LIFE": 0.4, "IDLE_LIFE": 0.4, "BUSY_BEAT": 0.1, "IDLE_BEAT": 0.1}
    for name, seconds in short.items():
        monkeypatch.setattr(bots.partitions, name, seconds)
    monkeypatch.setattr(bots.worker, "LOOK_SECONDS", 0.03)
    monkeypatch.setattr(bots.worker, "_TAKE_MS", 50)
    monkeypatch.setattr(bots.worker, "_PAUSE_SECONDS", 0.02)


async def dead_letters(store):
    return [fields[b"reason"].decode() for _, fields in await store.redis.xrange(keys.DEAD_LETTERS)]


async def works(store):
    """Whether any worker has a partition."""
    found = await survey(store.redis)
    return any(found.owner(partition) for partition in range(keys.PARTITIONS))


async def roles(store, channel="general"):
    return [turn.role for turn in await store.history.recent(conversation(channel))]


async def test_a_message_is_answered_and_becomes_one_turn_and_its_reply(store):
    sender = ScriptedSender()
    async with working(store, ScriptedEngine(ANSWER), sender):
        await store.intake.receive(message("How do I return it?"))
        await until_answered(store)
    assert sender.texts() == [ANSWER]
    turns = await store.history.recent(conversation())
    assert [(turn.role, turn.content) for turn in turns] == [
        ("user", "How do I return it?"),
        ("assistant", ANSWER),
    ]
    assert not await store.redis.keys("frontdesk:turn:*")


async def test_messages_of_a_conversation_are_answered_in_order_and_see_the_earlier_turns(store):
    sender, engine = ScriptedSender(), ScriptedEngine(lambda request: f"re: {request.turns[-1].content}")
    async with working(store, engine, sender):
        for number in range(5):
            await store.intake.receive(message(f"question {number}"))
        await until_answered(store)
    assert sender.texts() == [f"re: question {number}" for number in range(5)]
    assert [len(request.turns) for request in engine.requests] == [1, 3, 5, 7, 9]


async def test_a_hung_conversation_holds_up_only_itself(store):
    sender = ScriptedSender()
    engine = ScriptedEngine(lambda request: HANG if "hang" in request.turns[-1].content else ANSWER)
    async with killed(store, engine, sender):
        await store.intake.receive(message("hang", channel="stuck"))
        await store.intake.receive(message("behind it", channel="stuck"))
        for number in range(10):
            await store.intake.receive(message(channel=f"free-{number}"))
        await until_answered(store, left=2)
    assert len(sender.texts()) == 10
    assert sender.texts("stuck") == []


async def test_conversations_are_answered_at_the_same_time(store):
    together = asyncio.Barrier(8)
    sender = ScriptedSender()

    async def at(step):
        if step == "asked":
            await together.wait()

    async with working(store, ScriptedEngine(at=at), sender):
        for number in range(8):
            await store.intake.receive(message(channel=str(number)))
        await until_answered(store)
    assert len(sender.texts()) == 8


async def test_an_engine_that_comes_back_answers_without_an_apology(store):
    engine = ScriptedEngine([Unavailable("starting"), Unavailable("starting"), ANSWER])
    sender = ScriptedSender()
    async with working(store, engine, sender):
        await store.intake.receive(message())
        await until_answered(store)
    assert sender.shown[-1] == ANSWER
    assert sender.texts() == [ANSWER]
    assert await dead_letters(store) == []


async def test_when_the_engine_stays_away_the_author_is_told_and_the_message_kept(store):
    engine, sender = ScriptedEngine(Unavailable("gone")), ScriptedSender()
    async with working(store, engine, sender):
        await store.intake.receive(message())
        await until_answered(store)
    assert len(sender.texts()) == 1
    assert "Sorry" in sender.texts()[0]
    assert len(engine.requests) > 2
    assert await dead_letters(store) == ["the engine cannot answer: gone"]
    assert await roles(store) == []


async def test_a_busy_platform_is_left_alone_for_as_long_as_it_says(store):
    sender = ScriptedSender(faults={"post": [PlatformBusy("slow down", retry_after=0.4)]})
    engine = ScriptedEngine("Yes.")
    async with working(store, engine, sender):
        await store.intake.receive(message())
        started = time.monotonic()
        await until_answered(store)
    assert time.monotonic() - started >= 0.4
    assert sender.texts() == ["Yes."]
    assert len(engine.requests) == 1  # the stored text was sent, not a new one


async def test_a_reply_that_the_platform_refuses_goes_to_the_dead_letters_at_once(store):
    sender = ScriptedSender(faults={"post": itertools.repeat(PlatformRefused("no such channel"), 100)})
    engine = ScriptedEngine()
    async with working(store, engine, sender):
        await store.intake.receive(message(channel="gone"))
        await until_answered(store)
    assert await dead_letters(store) == ["no such channel"]
    assert len(engine.requests) == 1


@pytest.mark.parametrize("step", ["post", "edit", "finish"])
async def test_a_message_whose_reply_always_fails_does_not_stop_the_others(store, step):
    sender = ScriptedSender(faults={step: itertools.repeat(RuntimeError("a fault of the adapter"), 6)})
    async with working(store, ScriptedEngine(), sender):
        await store.intake.receive(message("poison", channel="a"))
        await until_answered(store)
        assert await dead_letters(store) == ["too many attempts"]
        await store.intake.receive(message(channel="b"))
        await until_answered(store)
    assert len(sender.texts("b")) == 1
    assert len(sender.texts("a")) <= 1


async def test_a_fault_after_the_post_took_effect_shows_no_second_post(store):
    sender = ScriptedSender(faults={"posted": [ConnectionResetError()]})
    async with working(store, ScriptedEngine(ANSWER), sender):
        await store.intake.receive(message())
        await until_answered(store)
    assert sender.texts() == [ANSWER]
    assert await roles(store) == ["user", "assistant"]


async def test_a_message_for_a_platform_without_a_sender_waits_for_a_worker_that_has_one(store):
    engine, sender = ScriptedEngine(), ScriptedSender()
    worker = scripted.build(store, engine, sender)
    worker._turn_taker._senders = {}
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    await store.intake.receive(message())
    await until(lambda: works(store))
    await asyncio.sleep(0.1)
    stop.set()
    await task
    assert engine.requests == []
    async with working(store, engine, sender):
        await until_answered(store)
    assert len(sender.texts()) == 1


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_that_stops_dead_at_any_step_is_replaced_and_the_answer_shown_once(store, step):
    # Given a worker that gets as far as this step and no further
    hook = HoldAt(step)
    sender = ScriptedSender(at=hook)
    async with killed(store, ScriptedEngine(ANSWER, at=hook), sender):
        await store.intake.receive(message())
        await asyncio.wait_for(hook.reached.wait(), 5)
    # When another takes over, whose engine would say something else
    sender._at = scripted.nothing
    second = "Something else, and of another length too."
    async with working(store, ScriptedEngine(second), sender):
        await until_answered(store)
    # Then there is one post, with the stored text where there was one
    assert sender.texts() == [ANSWER if step in STORED else second]
    turns = await store.history.recent(conversation())
    assert [turn.role for turn in turns] == ["user", "assistant"]
    assert turns[1].content == sender.texts()[0]


def start_dying_worker(redis_url, settings, platform, step, life=0.4):
    """A worker in a process of its own that kills itself at `step`."""
    program = str(Path(scripted.__file__))
    arguments = [redis_url, str(settings.data_dir), str(platform), step, ANSWER, str(life)]
    return subprocess.Popen([sys.executable, program, *arguments])


async def wait_for_end(process):
    return await asyncio.wait_for(asyncio.to_thread(process.wait), 20)


@pytest.mark.parametrize("step", ["asked", "generated", "posted", "finish", "finished"])
async def test_a_worker_killed_at_any_step_is_replaced_and_the_answer_shown_once(
    store, redis_url, settings, tmp_path, step
):
    platform = tmp_path / "platform.json"
    await store.intake.receive(message())
    process = start_dying_worker(redis_url, settings, platform, step)
    assert await wait_for_end(process) == -signal.SIGKILL
    sender = ScriptedSender(platform)
    second = "Something else."
    async with working(store, ScriptedEngine(second), sender):
        await until_answered(store)
    assert sender.texts() == [ANSWER if step in STORED else second]
    assert await roles(store) == ["user", "assistant"]


async def test_a_turn_that_kills_every_worker_is_given_up(store):
    question = message()
    await store.intake.receive(question)
    leased = Leased(store)
    for _ in range(bots.turn.MOST_ATTEMPTS):  # so many workers died over it
        await (await leased.record(question)).begin()
    await leased.partitions.leave()
    sender, engine = ScriptedSender(), ScriptedEngine()
    async with working(store, engine, sender):
        await until_answered(store)
    assert engine.requests == []
    assert await dead_letters(store) == ["too many attempts"]
    assert "Sorry" in sender.texts()[0]


async def test_a_turn_that_was_given_up_with_its_text_stored_sends_that_text(store):
    question = message()
    await store.intake.receive(question)
    leased = Leased(store)
    record = await leased.record(question)
    for _ in range(bots.turn.MOST_ATTEMPTS):
        await record.begin()
    await record.store_reply(Reply(ANSWER), "")
    await leased.partitions.leave()
    sender = ScriptedSender()
    async with working(store, ScriptedEngine(), sender):
        await until_answered(store)
    assert sender.texts() == [ANSWER]


async def test_another_worker_takes_over_within_two_seconds_of_a_kill(
    store, redis_url, settings, tmp_path, monkeypatch
):
    """With the real times."""
    monkeypatch.undo()
    platform = tmp_path / "platform.json"
    first = start_dying_worker(redis_url, settings, platform, "posted", life=1.2)
    await until(lambda: works(store), 20)
    for channel in range(8):  # some of them are the first worker's
        await store.intake.receive(message(channel=str(channel)))
    async with working(store, ScriptedEngine("Something else."), ScriptedSender()):
        assert await wait_for_end(first) == -signal.SIGKILL
        died = time.monotonic()
        await until_answered(store, seconds=10)
        assert time.monotonic() - died < 3


async def test_a_paused_worker_whose_partition_has_passed_on_finishes_nothing(store):
    # Given a worker in the middle of an answer
    hook = HoldAt("finish")
    slow = ScriptedSender(at=hook)
    stop = asyncio.Event()
    task = asyncio.create_task(scripted.build(store, ScriptedEngine(ANSWER), slow).run(stop))
    await store.intake.receive(message())
    await asyncio.wait_for(hook.reached.wait(), 5)
    # When another takes everything behind its back
    await Leased(store).lose()
    # Then it stops that work, and the message is still there
    await asyncio.sleep(0.3)
    assert not task.done()
    assert await store.inbox.backlog() == 1
    assert await roles(store) == []
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_stopping_lets_the_answer_in_hand_finish(store):
    sender = ScriptedSender()
    async with working(store, ScriptedEngine(ANSWER, pause=0.05), sender) as stop:
        await store.intake.receive(message())
        await until(lambda: sender.shown)
        stop.set()
    assert sender.texts() == [ANSWER]
    assert await store.inbox.backlog() == 0
    assert not await works(store)


async def test_stopping_does_not_wait_for_ever_for_a_hung_conversation(store, monkeypatch):
    monkeypatch.setattr(bots.worker, "_DRAIN_SECONDS", 0.2)
    engine, sender = ScriptedEngine(HANG), ScriptedSender()
    started = time.monotonic()
    async with working(store, engine, sender):
        for _ in range(3):  # two wait behind the hung one
            await store.intake.receive(message())
        await until(lambda: engine.requests)
        await asyncio.sleep(0.2)
    assert time.monotonic() - started < 3
    async with working(store, ScriptedEngine("Yes."), sender):
        await until_answered(store)
    assert sender.texts() == ["Yes."] * 3


async def test_stopping_does_not_wait_for_room_when_every_place_is_taken(store, monkeypatch):
    monkeypatch.setattr(bots.worker, "_DRAIN_SECONDS", 0.2)
    engine = ScriptedEngine(HANG)
    async with working(store, engine, ScriptedSender()):
        for number in range(bots.turn.MOST_AT_ONCE + 5):
            await store.intake.receive(message(channel=str(number)))
        await until(lambda: len(engine.requests) == bots.turn.MOST_AT_ONCE)
    assert await store.inbox.backlog() == bots.turn.MOST_AT_ONCE + 5


async def test_one_conversation_cannot_take_every_place(store):
    sender = ScriptedSender()
    engine = ScriptedEngine(lambda request: HANG if "hang" in request.turns[-1].content else "Yes.")
    async with killed(store, engine, sender):
        for _ in range(bots.turn.MOST_AT_ONCE + 5):
            await store.intake.receive(message("hang", channel="flood"))
        await store.intake.receive(message(channel="free"))
        await until(lambda: sender.texts("free"), 3)


async def test_two_workers_started_together_answer_each_message_once(store):
    sender, engine = ScriptedSender(once_only=False), ScriptedEngine("Yes.")
    async with working(store, engine, sender), working(store, engine, sender):
        for number in range(30):
            await store.intake.receive(message(channel=str(number % 7)))
        await until_answered(store)
    assert len(sender.texts()) == len(engine.requests) == 30


async def test_an_engine_that_loads_for_longer_than_five_attempts_still_answers(store):
    sender = ScriptedSender()
    engine = ScriptedEngine([Unavailable("loading")] * 9 + [ANSWER])
    async with working(store, engine, sender, patience=30):
        await store.intake.receive(message())
        await until_answered(store, seconds=20)
    assert sender.texts() == [ANSWER]
    assert not await dead_letters(store)


def guest(store, engine, sender):
    return scripted.build(store, engine, sender, is_guest=True)


async def test_a_guest_works_while_nobody_else_does_and_steps_down_for_one_who_stays(store):
    own, others = ScriptedSender(), ScriptedSender()
    stop = asyncio.Event()
    visiting = asyncio.create_task(guest(store, ScriptedEngine(ANSWER), own).run(stop))
    await store.intake.receive(message())
    await until_answered(store)
    visitor = (await survey(store.redis)).owner(0)
    async with working(store, ScriptedEngine(ANSWER), others):
        await until(lambda: has_nothing(store, visitor))
        await store.intake.receive(message())
        await until_answered(store)
    stop.set()
    await asyncio.wait_for(visiting, 10)
    assert (own.texts(), others.texts()) == ([ANSWER], [ANSWER])


async def has_nothing(store, worker):
    found = await survey(store.redis)
    owners = {found.owner(partition) for partition in range(keys.PARTITIONS)}
    return None not in owners and worker not in owners


async def test_a_guest_takes_over_from_another_guest_that_leaves(store, monkeypatch):
    monkeypatch.setattr(bots.partitions, "GUEST_SECONDS", 0.3)
    first, second = asyncio.Event(), asyncio.Event()
    sender = ScriptedSender()
    tasks = [
        asyncio.create_task(guest(store, ScriptedEngine(ANSWER), sender).run(stop))
        for stop in (first, second)
    ]
    await until(lambda: works(store))
    first.set()
    await asyncio.wait_for(tasks[0], 10)
    await store.intake.receive(message())
    await until_answered(store, seconds=10)
    second.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert sender.texts() == [ANSWER]


async def test_a_platform_that_is_away_takes_no_place_from_the_others(store, monkeypatch):
    monkeypatch.setattr(bots.turn, "MOST_AT_ONCE", 1)
    sender = ScriptedSender(faults={"post": [PlatformBusy("away", retry_after=3)]})
    async with working(store, ScriptedEngine("Yes."), sender):
        await store.intake.receive(message(channel="away"))
        await asyncio.sleep(0.3)
        await store.intake.receive(message(channel="other"))
        await until(lambda: sender.texts("other") == ["Yes."], 2)
        assert sender.texts("away") == []
        await until_answered(store)
    assert sender.texts("away") == ["Yes."]


async def test_a_summary_that_fails_never_has_the_message_answered_again(store):
    turns = [Turn("user", f"turn {number}", ANNA) for number in range(20)]
    await store.history.append(conversation(), turns)
    engine = ScriptedEngine(
        lambda request: ValueError("odd") if request.task == "condense" else ANSWER,
        outcome=Outcome(window=Window(turns_left_out=4)),
    )
    sender = ScriptedSender(once_only=False)
    async with working(store, engine, sender):
        await store.intake.receive(message())
        await until(lambda: len(engine.requests) == 2)
        await store.intake.receive(message("And then?"))
        await until(lambda: len(engine.requests) == 4)
    assert [request.task for request in engine.requests] == ["answer", "condense"] * 2
    assert sender.texts() == [ANSWER, ANSWER]


async def test_three_hundred_conversations_at_once_are_each_asked_and_answered_once(store, caplog):
    together = asyncio.Barrier(300)

    async def at(step):
        if step == "posted":  # all of them store at the same moment what they posted
            await together.wait()

    await asyncio.gather(*(store.inbox.put(message(channel=str(number))) for number in range(300)))
    engine, sender = ScriptedEngine("Yes."), ScriptedSender(once_only=False, at=at)
    async with working(store, engine, sender):
        await until_answered(store, seconds=20)
    assert len(sender.texts()) == len(engine.requests) == 300
    assert "Redis cannot be reached" not in caplog.text
    assert await dead_letters(store) == []


async def test_waiting_for_room_is_no_attempt(store, monkeypatch):
    monkeypatch.setattr(bots.turn, "MOST_AT_ONCE", 1)
    worker = scripted.build(store, ScriptedEngine(HANG), ScriptedSender())
    async with background(worker.run(asyncio.Event())):
        for number in range(5):
            await store.intake.receive(message(channel=str(number)))
        await until(lambda: len(worker._in_hand) == 5)
        await until(lambda: store.redis.keys("frontdesk:turn:*"))
        assert len(await store.redis.keys("frontdesk:turn:*")) == 1


@contextlib.asynccontextmanager
async def struck_down(monkeypatch, store, engine, sender):
    """A worker that dies with everything it does at one moment: no attempt begins or is taken back then."""
    with monkeypatch.context() as death:
        async with killed(store, engine, sender):
            yield
            death.setattr(TurnRecord, "begin", never)
            death.setattr(TurnRecord, "forgive", scripted.nothing)


async def never(record):
    """What is dead begins nothing."""
    await asyncio.Event().wait()


async def test_innocents_beside_a_message_that_kills_its_worker_are_answered(store, monkeypatch):
    # Given a message that kills every worker that answers it, and five others
    texts = ["poison", *(f"question {number}" for number in range(5))]
    sender = ScriptedSender()
    for channel, text in enumerate(texts):
        await store.intake.receive(message(text, channel=str(channel)))
    # When two workers die while they answer all of them, and more until there are no attempts left
    for death in range(bots.turn.MOST_ATTEMPTS):
        is_early = death < 2
        engine = ScriptedEngine(HANG if is_early else hangs_on_poison, pause=0.01)
        awaited = set(texts if is_early else ["poison"])
        async with struck_down(monkeypatch, store, engine, sender):
            await until(lambda awaited=awaited, engine=engine: awaited <= set(engine.asked))
    engine = ScriptedEngine(ANSWER)
    async with working(store, engine, sender):
        await until_answered(store)
    # Then that one is given up, and no other
    assert "poison" not in engine.asked
    assert "Sorry" in sender.texts("0")[0]
    assert [sender.texts(str(channel)) for channel in range(1, 6)] == [[ANSWER]] * 5
    assert await dead_letters(store) == ["too many attempts"]


def hangs_on_poison(request):
    return HANG if request.turns[-1].content == "poison" else ANSWER


async def test_leases_lost_while_an_answer_runs_are_taken_again_and_everything_is_answered(store):
    hook = HoldAt("streaming")
    engine, sender = ScriptedEngine(ANSWER, at=hook), ScriptedSender()
    async with working(store, engine, sender):
        await store.intake.receive(message())
        await asyncio.wait_for(hook.reached.wait(), 5)
        await store.redis.delete(keys.LEASES)
        engine._at = scripted.nothing
        await store.intake.receive(message())
        await until_answered(store, seconds=4)
    assert sender.texts() == [ANSWER] * 2
    assert await roles(store) == ["user", "assistant"] * 2


async def test_an_attempt_that_swallows_a_cancellation_never_runs_beside_the_next(store):
    running, most = [], []

    async def at(step):
        if step != "asked":
            return
        running.append(step)
        most.append(len(running))
        try:
            if len(engine.requests) == 1:
                with contextlib.suppress(asyncio.CancelledError):  # as redis-py does
                    await asyncio.Event().wait()
                await asyncio.Event().wait()
        finally:
            running.pop()

    engine, sender = ScriptedEngine(ANSWER, at=at), ScriptedSender(once_only=False)
    async with working(store, engine, sender):
        await store.intake.receive(message())
        await until(lambda: running)
        await store.redis.delete(keys.LEASES)
        await until_answered(store)
    assert (most, sender.texts()) == ([1, 1], [ANSWER])


async def test_a_fault_while_somebody_is_told_of_trouble_ends_nothing(store, monkeypatch, caplog):
    monkeypatch.setattr(bots.turn, "_TELL_AFTER", 0.0)
    faults = iter([RuntimeError("Session is closed")])
    sender = ScriptedSender(faults={"post": faults})
    async with working(store, ScriptedEngine([Unavailable("away"), ANSWER]), sender, patience=5):
        await store.intake.receive(message())
        await until_answered(store)
    assert next(faults, None) is None
    assert "it is taken again" not in caplog.text
    assert sender.texts() == [ANSWER]


@pytest.mark.parametrize("blank", ["", "\n \n"])
async def test_a_blank_answer_is_an_apology_except_to_nobody(store, blank):
    sender = ScriptedSender()
    async with working(store, ScriptedEngine(blank), sender):
        await store.intake.receive(message())
        await store.intake.receive(message(job="of a plugin that is gone"))
        await until_answered(store)
    (text,) = sender.texts()
    assert "Sorry" in text


async def test_patience_counts_from_the_first_error_and_not_from_the_beginning(store):
    async def at(step):
        if step == "asked" and len(engine.requests) == 1:
            await asyncio.sleep(0.3)

    engine, sender = ScriptedEngine([Unavailable("broke off"), ANSWER], at=at), ScriptedSender()
    async with working(store, engine, sender, patience=0.2):
        await store.intake.receive(message())
        await until_answered(store)
    assert sender.texts() == [ANSWER]
    assert await dead_letters(store) == []


async def test_somebody_given_up_while_the_platform_is_busy_is_told_once_it_is_back(store):
    sender = ScriptedSender(faults={"post": [PlatformBusy("away", retry_after=0.01)] * 5})
    async with working(store, ScriptedEngine(Unavailable("gone")), sender, patience=0.0):
        await store.intake.receive(message())
        await until_answered(store)
    (text,) = sender.texts()
    assert "Sorry" in text
    assert await dead_letters(store) == ["the engine cannot answer: gone"]


async def test_a_lost_lease_is_no_failure_of_the_message(store):
    engine, sender = ScriptedEngine([HANG] * 6 + ["Fine."]), ScriptedSender()
    async with working(store, engine, sender):
        await store.intake.receive(message())
        for asked in range(1, 7):
            await until(lambda asked=asked: len(engine.requests) == asked)
            await store.redis.delete(keys.LEASES)
        await until_answered(store)
    assert sender.texts() == ["Fine."]
