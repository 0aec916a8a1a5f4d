"""Slack as its users see it: our real adapter, slack-bolt unmodified, a local server for Slack."""

import contextlib

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from running import background, working
from slack_server import SlackServer

from bots.errors import PlatformBusy, WrongToken
from bots.platforms.slack import SlackReceiver, SlackSender, escape, plain_text

RETURNS = "How long do I have to return something?"


@pytest.fixture
async def server():
    async with SlackServer(ack_timeout=1.0) as server:
        yield server


@contextlib.asynccontextmanager
async def receiving(server, store, auto_channels=(), receive=None):
    receiver = SlackReceiver(
        server.bot_token, server.app_token, server.api_url, receive or store.intake.receive, auto_channels
    )
    async with background(receiver.run_forever()):
        await server.wait_for(lambda: server.sockets)
        yield


@contextlib.asynccontextmanager
async def frontdesk(server, store, engine, auto_channels=()):
    """The receiving and the sending half, and a worker between them."""
    sender = SlackSender(server.bot_token, server.api_url)
    await sender.open()
    async with receiving(server, store, auto_channels), working(store, engine, {"slack": sender}):
        yield


def answers(server, channel):
    posts = [m for m in server.messages[channel] if m.get("bot_id")]
    return [m for m in posts if "Source" in m["text"] or "colleague" in m["text"]]


async def answer_in(server, channel, count=1):
    await server.wait_for(lambda: len(answers(server, channel)) >= count, timeout=20)
    return answers(server, channel)[-1]


async def test_a_mention_is_answered_once_in_its_thread(server, store, sample_service):
    """It arrives as two events, app_mention and message."""
    assert {"app_mention", "message.channels"} <= set(server.subscriptions)
    async with frontdesk(server, store, sample_service):
        question = await server.say(server.channel_id, RETURNS, mention=True)
        answer = await answer_in(server, server.channel_id)
        await server.say(server.dm_channel_id, RETURNS)
        await answer_in(server, server.dm_channel_id)
    assert "30 days" in answer["text"]
    assert answer["thread_ts"] == question["ts"]
    assert len(answers(server, server.channel_id)) == 1
    assert not server.lost


async def test_a_direct_message_is_answered_beside_it_and_a_reply_in_the_thread(
    server, store, sample_service
):
    async with frontdesk(server, store, sample_service):
        await server.say(server.dm_channel_id, RETURNS)
        direct = await answer_in(server, server.dm_channel_id)
        question = await server.say(server.channel_id, RETURNS, mention=True)
        await answer_in(server, server.channel_id)
        await server.say(
            server.channel_id, "How do I reset my password?", thread_ts=question["ts"], mention=True
        )
        second = await answer_in(server, server.channel_id, count=2)
    assert "thread_ts" not in direct
    assert second["thread_ts"] == question["ts"]


async def test_what_is_not_addressed_to_the_bot_is_acknowledged_and_left_alone(server, store, sample_service):
    async with frontdesk(server, store, sample_service, {server.second_channel_id}):
        await server.say(server.channel_id, RETURNS)
        await server.say(server.second_channel_id, RETURNS)
        await answer_in(server, server.second_channel_id)
    assert not answers(server, server.channel_id)
    assert not server.lost


async def test_an_event_is_acknowledged_only_when_it_is_stored(server, store):
    """Redis is away at first: Slack delivers again, and the message is accepted then."""
    accepted = []

    async def receive(message, also):
        if not accepted:
            accepted.append(None)
            raise RedisConnectionError("away")
        accepted.append(message.text)
        return await store.intake.receive(message, also)

    async with receiving(server, store, receive=receive):
        await server.say(server.dm_channel_id, "are you there?")
        await server.wait_for(lambda: len(accepted) == 2, timeout=10)
        await server.wait_for(lambda: server.is_acked(server.envelopes[0]["payload"]["event_id"]))
    assert accepted[1] == "are you there?"
    assert await store.inbox.backlog() == 1


async def test_an_event_delivered_four_times_is_answered_once(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        await server.say(server.dm_channel_id, RETURNS)
        await answer_in(server, server.dm_channel_id)
        for _ in range(3):
            await server.redeliver(server.envelopes[0])
        await server.say(server.dm_channel_id, "How do I reset my password?")
        await answer_in(server, server.dm_channel_id, count=2)
    assert len(answers(server, server.dm_channel_id)) == 2


async def test_a_post_whose_answer_was_lost_is_found_and_not_posted_twice(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        server.fail_next("chat.postMessage", after=True)
        await server.say(server.channel_id, RETURNS, mention=True)
        await answer_in(server, server.channel_id)
        await server.say(server.dm_channel_id, RETURNS)
        await answer_in(server, server.dm_channel_id)
    assert len([m for m in server.messages[server.channel_id] if m.get("bot_id")]) == 1


async def test_a_rate_limit_is_obeyed_and_the_answer_comes(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        server.fail_next("chat.postMessage", "ratelimited", headers={"Retry-After": "1"})
        await server.say(server.dm_channel_id, RETURNS)
        await answer_in(server, server.dm_channel_id)
    assert len([c for c in server.calls if c.method == "chat.postMessage"]) == 2


async def test_a_text_file_is_fetched_with_the_token(server, store, sample_service):
    notes = b"The oven is broken. The oven will be repaired on Monday."
    async with frontdesk(server, store, sample_service):
        await server.say(server.dm_channel_id, "/summarise", files=[("notes.txt", notes)])
        posts = server.messages[server.dm_channel_id]
        await server.wait_for(lambda: any(m.get("bot_id") for m in posts), timeout=20)
    assert "oven" in next(m["text"] for m in posts if m.get("bot_id"))


async def test_wrong_tokens_say_which_one_and_where_it_comes_from(server, store):
    async def start(bot, app, url=None):
        await SlackReceiver(bot, app, url or server.api_url, store.intake.receive).run_forever()

    with pytest.raises(WrongToken, match="FRONTDESK_SLACK_BOT_TOKEN"):
        await start("xoxb-wrong", server.app_token)
    with pytest.raises(WrongToken, match="connections:write"):
        await start(server.bot_token, "xapp-wrong")
    with pytest.raises(PlatformBusy, match="cannot be reached"):
        await start(server.bot_token, server.app_token, "http://127.0.0.1:1/api/")


def test_what_slack_wraps_is_unwrapped():
    wrapped = "<@B1> mail <mailto:a@b.example|a@b.example> or <tel:+15550100|+1 555 0100> &lt;now&gt; <https://x.example>"
    assert plain_text(wrapped, "B1") == "mail a@b.example or +1 555 0100 <now> https://x.example"


def test_no_text_of_ours_becomes_a_mention():
    assert escape("<!channel> & <@U1>") == "&lt;!channel&gt; &amp; &lt;@U1&gt;"
