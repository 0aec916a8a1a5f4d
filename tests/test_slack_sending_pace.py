"""Slack's limits, kept by this process and by all together: with a local server for Slack."""

import asyncio
import itertools
import time
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from scripted import ScriptedEngine, hurry, until, until_answered, working
from slack_sender import ask, made, post, sending, shown
from slack_server import SlackServer

from bots.errors import PlatformBusy
from bots.platforms.slack import pace as pacing
from bots.platforms.slack.pace import Measure, Pace
from bots.platforms.slack.turnstile import Turnstile
from engine.types import TextFile


@pytest.fixture
async def server():
    async with SlackServer(echo=False) as server:
        yield server


@pytest.fixture
async def sender(server):
    async with sending(server) as sender:
        yield sender


async def test_a_limit_holds_one_method_in_one_channel_and_nothing_else(server, sender):
    one, other = await ask(server), await ask(server, channel=server.second_channel_id)
    server.limit("chat.postMessage", server.channel_id, 1)
    waits = []
    for _ in range(3):
        with pytest.raises(PlatformBusy) as refused:
            await post(sender, one, "hello")
        waits.append(refused.value.retry_after)
        await post(sender, other, "hello")
    assert waits[0] == 1
    assert 1 > waits[1] > waits[2] > 0
    ref = await post(sender, one, "a stream is another method", is_growing=True)
    assert len(made(server, "chat.postMessage")) == 3  # none in the channel since it was refused
    await asyncio.sleep(waits[2])
    await post(sender, one, "hello")
    await sender.edit(one, ref, "a stream is another method.", is_growing=False)
    assert shown(server, one) == ["a stream is another method.", "hello"]
    assert not server.too_early


async def test_posts_in_a_channel_wait_their_turn_and_others_do_not(server, sender):
    one, other = await ask(server), await ask(server, channel=server.second_channel_id)
    loop, done = asyncio.get_running_loop(), []

    async def say(message, part):
        await post(sender, message, "hello", part)
        done.append((message.conversation.channel, loop.time()))

    started = loop.time()
    await asyncio.gather(*(say(one, part) for part in range(4)), *(say(other, part) for part in range(3)))
    assert [channel for channel, _ in done][-1] == server.channel_id
    assert done[-1][1] - started > 0.9
    assert done[-2][1] - started < 0.8


async def test_processes_share_turns_and_waits(server, store):
    async with sending(server, store.redis) as one, sending(server, store.redis) as other:
        question = await ask(server)
        loop = asyncio.get_running_loop()
        started = loop.time()
        posts = [post(sender, question, "hello", part) for part in (0, 1) for sender in (one, other)]
        assert len(set(await asyncio.gather(*posts))) == 4
        assert 0.9 < loop.time() - started < 2
        waiting = asyncio.create_task(post(one, question, "hello", 3))
        await asyncio.sleep(0.1)
        await other._calls._pace.hold("T100", "chat_postMessage", server.channel_id, 2)
        with pytest.raises(PlatformBusy):
            await waiting
        assert len(made(server, "chat.postMessage")) == 4
        server.limit("chat.update", server.channel_id, 1)
        for sender in (one, other):
            with pytest.raises(PlatformBusy) as refused:
                await sender.edit(question, "1.1", "hello", is_growing=False)
            assert 0.5 < refused.value.retry_after <= 1
        assert not other._calls.can_spare(question, "chat_update")
        assert not server.too_early
        await store.redis.script_flush()  # as after a restart of Redis
        await post(other, await ask(server, channel=server.second_channel_id), "hello")


async def test_a_turn_is_not_waited_for_where_slack_wants_nothing_meanwhile(server, sender):
    question = await ask(server)
    for part in range(3):
        await post(sender, question, "hello", part)
    waiting = asyncio.create_task(post(sender, question, "hello", 3))
    await asyncio.sleep(0)
    await sender._calls._pace.hold("T100", "chat_postMessage", server.channel_id, 9)
    with pytest.raises(PlatformBusy):
        await waiting
    assert len(made(server, "chat.postMessage")) == 3


async def test_without_redis_a_process_goes_by_itself(server):
    async with sending(server, RedisAway()) as sender:
        await post(sender, await ask(server), "hello")
        server.limit("chat.postMessage", server.channel_id, 1)
        for _ in range(2):
            with pytest.raises(PlatformBusy):
                await post(sender, await ask(server), "hello")
    assert len(made(server, "chat.postMessage")) == 1
    assert not server.too_early


def RedisAway():
    """A client of a Redis that is not there."""
    return Redis(unix_socket_path="nowhere.sock", retry=None)


def test_a_measure_fills_again_at_its_pace():
    measure = Measure(3, 1.0, 3, at=0.0)
    assert [measure.take(0.0) for _ in range(5)] == [0, 0, 0, 1, 2]
    assert not measure.can_spare(2.5)
    assert measure.can_spare(3.0)
    assert measure.take(100.0) == 0
    assert measure.left == 2
    for _ in range(9):  # what cannot wait is made anyway, and is forgotten in time
        measure.spend(100.0)
    assert not measure.can_spare(100.5)
    assert measure.can_spare(101.0)


async def test_what_grows_gives_way_to_what_is_whole(server):
    """The calls of a minute are used up: nothing is appended or begun any more, but every answer is told."""
    now = 0.0
    pace = Pace(clock=lambda: now)
    for _ in range(100):
        assert pace.can_spare("T", "chat_appendStream", "C")
        await pace.wait("T", "chat_appendStream", "C")
    assert not pace.can_spare("T", "chat_appendStream", "C2")
    assert pace.can_spare("T2", "chat_appendStream", "C2")
    await pace.wait("T", "chat_appendStream", "C")
    now = 2.0
    assert pace.can_spare("T", "chat_appendStream", "C2")
    async with sending(server) as sender:
        question = await ask(server)
        ref = await post(sender, question, "30 days", is_growing=True)
        sender._calls._pace.can_spare = lambda *place: False
        await sender.edit(question, ref, "30 days, if", is_growing=True)
        await sender.edit(question, ref, "30 days, if unused.", is_growing=False)
        second = await post(sender, question, "more", 1, is_growing=True)
        await sender.edit(question, second, "more to", is_growing=True)
        assert shown(server, question)[1] == "more"
        await sender.edit(question, second, "more to say", is_growing=False)
    assert shown(server, question) == ["30 days, if unused.", "more to say"]
    assert not made(server, "chat.appendStream")
    assert len(made(server, "chat.startStream")) == 1


@pytest.fixture
def ten_a_second(monkeypatch):
    """Slack's pace, ten times as fast."""
    monkeypatch.setattr(pacing, "_POSTS_A_SECOND", 10.0)
    monkeypatch.setattr(pacing, "_LONGEST_WAIT", 0.1)
    monkeypatch.setattr(pacing, "_LONGEST_WAY_ROUND", 1.5)


async def test_twenty_threads_of_one_channel_are_answered_in_turn_and_hold_up_no_other_channel(
    server, store, monkeypatch, ten_a_second
):
    monkeypatch.setattr("bots.turn.MOST_AT_ONCE", 2)
    hurry()

    async def put(channel):
        question = await ask(server, channel=channel)
        place = replace(question.conversation, platform="test")  # what scripted workers answer
        await store.intake.receive(replace(question, conversation=place))

    for _ in range(20):
        await put(server.channel_id)
    async with sending(server, store.redis) as sender, working(store, ScriptedEngine(), sender):
        await until(lambda: len(made(server, "chat.postMessage")) > 3)
        await put(server.second_channel_id)
        await until(lambda: len(server.messages[server.second_channel_id]) == 2)
        assert len(times(server)) < 15
        await until_answered(store, seconds=20)
    assert len(times(server)) == 20
    late = 0.05  # so much later than its turn a call may arrive
    for (first, one), (last, other) in itertools.combinations(enumerate(times(server)), 2):
        assert last - first + 1 <= 3 + 10 * (other - one + late)
    assert len(made(server, "conversations.replies")) < 40
    assert await store.redis.xlen("frontdesk:dead-letters") == 0


def times(server):
    """When the bot posted in the busy channel."""
    return [float(m["ts"]) for m in server.messages[server.channel_id] if m.get("bot_id")]


@pytest.mark.parametrize("is_shared", [True, False])
async def test_whoever_gives_up_waiting_holds_up_nobody(store, is_shared):
    """Five times forty threads of a channel wait, and are killed, edited or deleted meanwhile."""
    pace = Pace(Turnstile(store.redis) if is_shared else None)
    place = "T", "chat_postMessage", "C"
    for _ in range(5):
        waiting = [asyncio.create_task(pace.wait(*place)) for _ in range(40)]
        await asyncio.sleep(0.05)
        for task in waiting:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    ways = [found.retry_after for found in results if isinstance(found, PlatformBusy)]
    assert len(ways) == 40 and max(ways) <= 15
    await pace.wait("T", "chat_postMessage", "C2")
    with pytest.raises(PlatformBusy):
        await asyncio.wait_for(pace.wait(*place), 0.5)
    await asyncio.sleep(1)
    await asyncio.wait_for(pace.wait(*place), 1.5)


async def test_those_that_wait_are_told_to_come_one_after_the_other():
    now = 0.0
    pace = Pace(clock=lambda: now)
    for _ in range(4):
        pace._posts("T", "C").take(now)
    ways = []
    for _ in range(16):
        with pytest.raises(PlatformBusy) as busy:
            await pace.wait("T", "chat_postMessage", "C")
        ways.append(round(busy.value.retry_after))
    assert ways == [*range(2, 16), 15, 15]
    now = 2.0
    await pace.wait("T", "chat_postMessage", "C")


async def test_a_retry_that_has_no_turn_reads_nothing_and_uploads_nothing(server, sender):
    question = await ask(server)
    await post(sender, question, "hello")
    for _ in range(4):
        sender._calls._pace._posts("T100", server.channel_id).take(time.monotonic())
    with pytest.raises(PlatformBusy):
        await post(sender, question, "hello", is_retry=True)
    with pytest.raises(PlatformBusy):
        await sender.post_file(question, TextFile("a.txt", "a"), nonce="n", is_retry=False)
    assert {call.method for call in server.calls} == {"auth.test", "chat.postMessage"}
