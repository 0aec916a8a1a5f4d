"""Discord as its users see it: our real adapter, discord.py unmodified, a local server for Discord."""

import asyncio
import contextlib

import pytest
from discord_server import DiscordServer
from running import background, working

from bots.errors import StartError, WrongToken
from bots.platforms.discord import DiscordReceiver, DiscordSender

RETURNS = "How long do I have to return something?"


@pytest.fixture
async def server(monkeypatch):
    async with DiscordServer() as server:
        server.redirect(monkeypatch)
        yield server


@contextlib.asynccontextmanager
async def frontdesk(server, store, engine, auto_channels=()):
    """The receiving and the sending half, and a worker between them."""
    receiver = DiscordReceiver(server.token, store.intake.receive, auto_channels)
    sender = DiscordSender(server.token)
    await sender.open()
    try:
        async with background(receiver.run_forever()), working(store, engine, {"discord": sender}):
            await server.wait_for(lambda s: s.connected)
            await server.wait_for(lambda s: s.commands.get(None))
            yield receiver
    finally:
        await sender.close()


def answers(server, channel):
    """What the bot has posted there and finished editing."""
    found = [m for m in server.messages[channel] if int(m["author"]["id"]) == server.bot_id]
    return [m for m in found if "Source" in m["content"] or "colleague" in m["content"]]


async def answer_in(server, channel, count=1):
    await server.wait_for(lambda s: len(answers(s, channel)) >= count, timeout=20)
    return answers(server, channel)[-1]


async def test_a_mention_is_answered_in_its_channel_as_a_reply(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        question = await server.say(server.channel_id, RETURNS, mention_bot=True)
        answer = await answer_in(server, server.channel_id)
    assert "30 days" in answer["content"]
    assert "(returns.md)" in answer["content"]
    assert answer["message_reference"]["message_id"] == question["id"]
    assert not server.messages[server.second_channel_id]


async def test_direct_messages_threads_and_replies_to_the_bot_are_answered(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        await server.dm(RETURNS, user_id=server.user_id)
        direct = await answer_in(server, server.dm_channel(server.user_id))
        await server.say(server.thread_id, RETURNS, mention_bot=True)
        await answer_in(server, server.thread_id)
        await server.say(server.channel_id, RETURNS, mention_bot=True)
        first = await answer_in(server, server.channel_id)
        await server.say(server.channel_id, "How do I reset my password?", reply_to=first, mention_bot=True)
        second = await answer_in(server, server.channel_id, count=2)
    assert "30 days" in direct["content"]
    assert "password" in second["content"]


async def test_what_is_not_addressed_to_the_bot_is_left_alone(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        await server.say(server.channel_id, RETURNS)
        server.add_user(77, "robot", bot=True)
        await server.say(server.channel_id, RETURNS, author=77, mention_bot=True)
        await server.dm(RETURNS, user_id=server.user_id)
        await answer_in(server, server.dm_channel(server.user_id))
    assert len(server.messages[server.channel_id]) == 2


async def test_the_slash_command_is_deferred_at_once_and_then_filled(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        interaction = await server.interact("ask", {"question": RETURNS})
        await server.wait_for(lambda s: s.response(interaction).callback)
        assert server.response(interaction).callback["type"] == 5  # deferred channel message
        await server.wait_for(
            lambda s: (m := s.response(interaction).message) and "returns.md" in m["content"], timeout=20
        )
    assert len(server.messages[server.channel_id]) == 1


async def test_an_automatic_channel_is_answered_without_a_mention(server, store, sample_service):
    server.message_content_enabled = True
    async with frontdesk(server, store, sample_service, {str(server.second_channel_id)}):
        await server.say(server.second_channel_id, RETURNS)
        await server.say(server.channel_id, RETURNS)
        await answer_in(server, server.second_channel_id)
    assert not answers(server, server.channel_id)


async def test_no_privileged_intent_is_asked_for_without_automatic_channels(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        assert not server.intents & (1 << 15 | 1 << 8 | 1 << 1)


async def test_events_that_a_reconnect_brings_again_are_answered_once(server, store, sample_service):
    async with frontdesk(server, store, sample_service) as receiver:
        await server.say(server.channel_id, RETURNS, mention_bot=True)
        await answer_in(server, server.channel_id)
        again = receiver.get_channel(server.channel_id)
        message = await again.fetch_message(int(server.messages[server.channel_id][0]["id"]))
        await receiver.on_message(message)
        await server.dm("thanks", user_id=server.user_id)
        await server.wait_for(lambda s: len(s.messages[s.dm_channel(s.user_id)]) == 2, timeout=10)
    assert len(answers(server, server.channel_id)) == 1


async def test_a_text_file_is_read_and_another_file_is_told(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        await server.dm(
            "/summarise",
            user_id=server.user_id,
            attachments={"notes.txt": "The oven is broken. The oven will be repaired on Monday."},
        )
        channel = server.dm_channel(server.user_id)
        await server.wait_for(lambda s: len(s.messages[channel]) == 2, timeout=20)
        await server.dm("", user_id=server.user_id, attachments={"photo.png": b"\x89PNG\x00\xff"})
        await server.wait_for(lambda s: len(s.messages[channel]) == 4, timeout=20)
    assert "oven" in server.messages[channel][1]["content"]
    assert "only read text files" in server.messages[channel][3]["content"]


async def test_personal_data_comes_back_in_private_and_is_masked_in_a_channel(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        await server.dm("/draft mail jane@x.example about it.", user_id=server.user_id)
        channel = server.dm_channel(server.user_id)
        await server.wait_for(lambda s: len(s.messages[channel]) == 2, timeout=20)
        await server.say(server.channel_id, "/draft mail jane@x.example about it.", mention_bot=True)
        await server.wait_for(lambda s: len(s.messages[s.channel_id]) == 2, timeout=20)
    assert "jane@x.example" in server.messages[channel][1]["content"]
    assert "[email address]" in server.messages[server.channel_id][1]["content"]


async def test_a_post_whose_answer_was_lost_is_not_posted_twice(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        server.fail_next(502, path="POST /channels", after=True)
        await server.say(server.channel_id, RETURNS, mention_bot=True)
        await answer_in(server, server.channel_id)
        await asyncio.sleep(1.5)
    assert (
        len([m for m in server.messages[server.channel_id] if int(m["author"]["id"]) == server.bot_id]) == 1
    )


async def test_a_wrong_token_and_a_missing_intent_say_what_to_do(server, store):
    with pytest.raises(WrongToken, match="FRONTDESK_DISCORD_TOKEN"):
        await DiscordReceiver("wrong", store.intake.receive).run_forever()
    sender = DiscordSender("wrong")
    with pytest.raises(WrongToken, match="FRONTDESK_DISCORD_TOKEN"):
        await sender.open()
    await sender.close()
    with pytest.raises(StartError, match="Message Content Intent"):
        await DiscordReceiver(server.token, store.intake.receive, {"1"}).run_forever()
