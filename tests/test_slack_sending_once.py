"""Every post once, whatever happens to processes and answers: with a local server for Slack."""

import time

import pytest
from slack_sender import ask, called, post, sending, shown
from slack_server import SlackServer

from bots.errors import PlatformBusy
from bots.message import ConversationKey, Message
from bots.platforms.slack.sender import SlackSender


@pytest.fixture
async def server():
    async with SlackServer(echo=False) as server:
        yield server


@pytest.fixture
async def sender(server):
    async with sending(server) as sender:
        yield sender


async def test_another_process_takes_a_growing_answer_over(server, sender):
    question = await ask(server)
    ref = await post(sender, question, "30 days", is_growing=True)
    async with sending(server) as other:
        await other.edit(question, ref, "Thirty days, if", is_growing=True)
        assert shown(server, question) == ["Thirty days, if"]
        await other.edit(question, ref, "Thirty days, if unused.", is_growing=False)
    assert shown(server, question) == ["Thirty days, if unused."]
    with_conflict = [error for _, error in server.errors]
    assert with_conflict == ["streaming_state_conflict"]


async def test_a_post_whose_answer_was_lost_is_found_by_its_metadata(server, sender):
    question = await ask(server)
    for part, text in enumerate(["first", "second"]):
        server.fail_next("chat.postMessage", after=True)
        with pytest.raises(PlatformBusy):
            await post(sender, question, text, part)
    for reader in (sender, SlackSender(sender._calls._token_of, server.api_url)):
        found = [await post(reader, question, "again", part, is_retry=True) for part in (0, 1)]
        posts = server.messages[server.channel_id][1:]
        assert found == [post["ts"] for post in posts]
        await reader.close()
    assert shown(server, question) == ["first", "second"]


@pytest.mark.parametrize("is_threaded", [True, False])
async def test_a_post_is_found_behind_many_others(server, sender, is_threaded, monkeypatch):
    monkeypatch.setattr("bots.platforms.slack.finder._A_PAGE", 3)
    question = await ask(server, channel=server.dm_channel_id)
    if not is_threaded:
        question = Message(question.id, ConversationKey("slack", "T100", "D100"), question.author, "?", True)
    thread = question.conversation.thread or None
    for _ in range(4):
        await server.say(server.dm_channel_id, "and another thing", thread_ts=thread)
    ref = await post(sender, question, "30 days")
    for _ in range(4):
        await server.say(server.dm_channel_id, "thanks", thread_ts=thread)
    assert await post(sender, question, "30 days", is_retry=True) == ref


async def test_a_stream_whose_process_died_is_adopted(server, sender):
    question = await ask(server)
    server.fail_next("chat.startStream", after=True)
    with pytest.raises(PlatformBusy):
        await post(sender, question, "30 days", is_growing=True)
    async with sending(server) as other:
        ref = await post(other, question, "30 days, if", is_retry=True, is_growing=True)
        assert "streaming_state" not in server.find(server.channel_id, ref)
        await other.edit(question, ref, "30 days, if unused.", is_growing=False)
        assert await post(other, question, "", is_retry=True) == ref  # marked as this turn's now
    assert shown(server, question) == ["30 days, if unused."]


async def test_only_an_orphan_is_adopted(server, sender):
    """Not the thread's beginning, not another turn's answer, not a file, not what a person wrote."""
    root = server._add_bot_message(server.channel_id, {"text": "Welcome!"})
    first = await ask(server, thread_ts=root["ts"])
    second = await ask(server, thread_ts=root["ts"])
    streamed = await post(sender, first, "30 days", is_growing=True)
    await sender.edit(first, streamed, "30 days, if", is_growing=False)
    lost = await post(sender, first, "more", 1, is_growing=True)
    async with sending(server) as other:  # the first one's process is gone
        await other.edit(first, lost, "more to say", is_growing=False)
        file = {"files": [{"id": "F1", "name": "a"}], "thread_ts": root["ts"]}
        server._add_bot_message(server.channel_id, file)
        await server.say(server.channel_id, "me too", user="UBEN", thread_ts=root["ts"])
        await post(other, second, "You can pay", is_retry=True)
    assert shown(server, second) == ["30 days, if", "more to say", "", "You can pay"]
    assert root["text"] == "Welcome!"


async def test_a_commands_answer_is_found_though_our_clock_is_ahead(server, sender):
    command = called(server, server.channel_id, at=time.time() + 90)
    server.fail_next("chat.postMessage", after=True)
    with pytest.raises(PlatformBusy):
        await post(sender, command, "30 days")
    ref = await post(sender, command, "30 days", is_retry=True)
    assert [m["ts"] for m in server.messages[server.channel_id]] == [ref]


async def test_a_command_of_a_channel_that_cannot_be_read_is_answered_by_a_retry(server, sender):
    """Where everybody may post, but only members read."""
    command = called(server, server.channel_id)
    server.fail_next("conversations.history", "not_in_channel")
    await post(sender, command, "30 days", is_retry=True)
    assert [m["text"] for m in server.messages[server.channel_id]] == ["30 days"]


async def test_where_the_bot_cannot_post_a_lost_answer_is_found_with_its_person(server, sender):
    command = called(server, "CSECRET")
    server.fail_next("chat.postMessage", "channel_not_found")
    server.fail_next("chat.postMessage", status=500, after=True)
    with pytest.raises(PlatformBusy):
        await post(sender, command, "30 days")
    async with sending(server) as other:
        ref = await post(other, command, "30 days", is_retry=True)
        await other.edit(command, ref, "30 days, if unused.", is_growing=False)
        assert await post(other, command, "30 days", is_retry=True) == ref
    assert [m["text"] for m in server.messages[server.dm_channel_id]] == ["30 days, if unused."]
