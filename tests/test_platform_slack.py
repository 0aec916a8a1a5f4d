"""Slack as its users see it: both halves as frontdesk makes them, a worker between, slack-bolt unmodified."""

import asyncio
import contextlib

import pytest
from running import working
from scripted import AskingBack, ScriptedEngine
from slack_receiver import receiving, settings_for
from slack_server import SlackServer

from bots.message import ConversationKey
from bots.platforms.slack import open_sender

RETURNS = "How long do I have to return something?"


@pytest.fixture
async def server():
    async with SlackServer(ack_timeout=1.0) as server:
        yield server


@contextlib.asynccontextmanager
async def frontdesk(server, store, engine, **changes):
    """The receiving and the sending half, and a worker between them."""
    sender = await open_sender(settings_for(server), store)
    try:
        async with receiving(server, store, **changes), working(store, engine, {"slack": sender}):
            yield
    finally:
        await sender.close()


def shown(server, channel):
    """What the bot's finished posts say, and the thread of each."""
    posts = [post for post in server.messages[channel] if post.get("bot_id")]
    return [(post["text"], post.get("thread_ts")) for post in posts if not post.get("streaming_state")]


async def answer_in(server, channel, said="", count=1):
    """The last post that says this, when there are so many."""

    def found():
        posts = [post for post in shown(server, channel) if said in post[0]]
        return posts if len(posts) >= count else None

    return (await server.wait_for(found, timeout=20))[-1]


async def test_a_mention_is_answered_once_in_its_thread(server, store, sample_service):
    """It arrives as two events, app_mention and message."""
    assert {"app_mention", "message.channels"} <= set(server.subscriptions)
    async with frontdesk(server, store, sample_service):
        asked = await server.say(server.channel_id, RETURNS, mention=True)
        _, thread = await answer_in(server, server.channel_id, "30 days")
        second = await server.say(server.dm_channel_id, RETURNS)
        await answer_in(server, server.dm_channel_id, "30 days")
        for envelope in server.envelopes[:2]:
            await server.redeliver(envelope)
        third = await server.say(server.dm_channel_id, "How do I reset my password?")
        await answer_in(server, server.dm_channel_id, count=2)
    assert thread == asked["ts"]
    assert len(shown(server, server.channel_id)) == 1
    assert [thread for _, thread in shown(server, server.dm_channel_id)] == [second["ts"], third["ts"]]
    assert not server.lost


async def test_a_thread_goes_on_without_a_mention_where_the_bot_has_answered(server, store):
    engine, channel = ScriptedEngine(), server.channel_id
    async with frontdesk(server, store, engine):
        first = await server.say(channel, RETURNS, mention=True)
        await answer_in(server, channel, "30 days")
    async with frontdesk(server, store, engine):  # it is known from the history, after a restart too
        other = await server.say(channel, "Who has the key of the store room?", user="UCLEO")
        await server.say(channel, "I do", user="UANNA", thread_ts=other["ts"])
        await server.say(channel, "And a gift?", user="UBEN", thread_ts=first["ts"])
        _, thread = await answer_in(server, channel, "30 days", count=2)
    assert thread == first["ts"]
    assert not server.replies(channel, other["ts"])[1:]
    turns = await store.history.recent(ConversationKey("slack", server.team_id, channel, first["ts"]))
    assert [turn.author.id for turn in turns] == ["UANNA", "UANNA", "UBEN", "UBEN"]


async def test_a_text_file_is_fetched_with_the_token(server, store):
    notes, engine = b"The oven is broken. It will be repaired on Monday.", ScriptedEngine("It is broken.")
    async with frontdesk(server, store, engine):
        await server.say(server.dm_channel_id, "/summarise", files=[("notes.txt", notes)])
        await answer_in(server, server.dm_channel_id, "It is broken.")
    assert "oven" in str(engine.requests[0])


async def test_a_question_back_has_buttons_that_ask_what_they_say(server, store):
    async with frontdesk(server, store, AskingBack()):
        asked = await server.say(server.channel_id, "return?", mention=True)

        def buttons():
            blocks = [
                block for post in server.messages[server.channel_id] for block in post.get("blocks", ())
            ]
            return [e for block in blocks for e in block.get("elements", ()) if e["type"] == "button"]

        found = await server.wait_for(buttons)
        assert [button["text"]["text"] for button in found] == [*AskingBack.options, "None of these"]
        (post,) = [post for post in server.messages[server.channel_id] if post.get("bot_id")]
        action = {**found[1], "action_ts": f"{float(post['ts']) + 1:.6f}"}
        assert await server.interact({"actions": [action], "message": post})
        text, thread = await answer_in(server, server.channel_id, "You asked a colleague")
    assert text == "You asked a colleague: How do I return a gift?"
    assert thread == asked["ts"]


async def test_the_stop_button_keeps_what_was_said_and_a_deleted_question_takes_it_away(server, store):
    half_said, may_go_on = asyncio.Event(), asyncio.Event()

    async def hold(step):
        if step == "streaming":
            half_said.set()
            await may_go_on.wait()

    engine, channel = ScriptedEngine("One two three four five six seven.", at=hold), server.dm_channel_id
    async with frontdesk(server, store, engine):
        asked = await server.say(channel, "count")
        await asyncio.wait_for(half_said.wait(), 10)
        await server.stop(channel, asked["ts"])
        stopped, _ = await answer_in(server, channel, "One two")
        half_said.clear()
        second = await server.say(channel, "count again")
        await asyncio.wait_for(half_said.wait(), 10)
        server.remove(channel, second["ts"])
        await server.delivered()
        await server.wait_for(lambda: not server.replies(channel, second["ts"]))
        may_go_on.set()
    assert "seven" not in stopped
    assert len(shown(server, channel)) == 1
