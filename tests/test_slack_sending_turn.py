"""Whole answers at Slack, from a worker: long ones, dying streams, dying workers."""

import asyncio
from dataclasses import replace

import pytest
from scripted import ScriptedEngine, hurry, killed, until, until_answered, working
from slack_sender import ask, made, sending, shown
from slack_server import SlackServer

LONG = "\n\n".join(f"{n}. " + f"{'word' * 20}{n}<b> " * 4 for n in range(60))


@pytest.fixture
async def server():
    async with SlackServer(echo=False) as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("bots.platforms.slack.sender.SlackSender.edit_seconds", 0.02)
    hurry()


async def asked(server, store, **more):
    question = await ask(server, "How long do I have?", **more)
    place = replace(question.conversation, platform="test")  # what scripted workers answer
    question = replace(question, conversation=place)
    await store.intake.receive(question)
    return question


def said(server, question):
    """All parts of the answer as one text."""
    return " ".join(" ".join(shown(server, question)).replace("&lt;", "<").split())


async def test_a_long_answer_streams_in_parts_of_which_some_die(server, store):
    server.stream_seconds = 0.1
    async with sending(server) as sender, working(store, ScriptedEngine(LONG, pause=0.001), sender):
        question = await asked(server, store)
        await until_answered(store, seconds=20)
    assert said(server, question) == " ".join(LONG.split())
    assert len(shown(server, question)) == len(made(server, "chat.startStream")) > 1
    assert len(made(server, "chat.appendStream")) > 3
    assert "message_not_in_streaming_state" in {error for _, error in server.errors}
    feedback = [m["blocks"][-1]["type"] for m in server.messages[server.channel_id][1:]]
    assert feedback == ["markdown"] * (len(feedback) - 1) + ["context_actions"]
    assert not any("streaming_state" in m for m in server.messages[server.channel_id])


@pytest.mark.parametrize("lost", ["chat.startStream", "chat.appendStream", "chat.stopStream"])
async def test_a_worker_that_dies_leaves_one_answer(server, store, lost):
    """It dies while a call is under way, which Slack carries out."""
    answer = "You have thirty days to send it back, " * 40 + "if it is unused."
    server.fail_next(lost, status=500, after=True, delay=0.2)
    async with sending(server) as sender, killed(store, ScriptedEngine(answer, pause=0.0005), sender):
        question = await asked(server, store, channel=server.dm_channel_id)
        await until(lambda: made(server, lost))
    await asyncio.sleep(0.2)  # until Slack has done what was asked
    async with sending(server) as sender, working(store, ScriptedEngine(answer), sender):
        await until_answered(store, seconds=10)
    assert shown(server, question) == [answer]
    assert not any("streaming_state" in m for m in server.messages[server.dm_channel_id])
