"""Posts of the sending half, as people at Slack see them: slack_sdk unmodified, a local server for Slack."""

import asyncio
import json
from dataclasses import replace

import pytest
from slack_sender import ask, called, made, post, sending, shown
from slack_server import SlackServer

from bots.errors import PlatformBusy, PlatformRefused
from bots.message import Author, ConversationKey, Message, Part, Reply
from bots.platforms.slack.pace import Measure
from bots.platforms.slack.sender import SlackSender
from bots.split import split
from engine.types import Citation, TextFile

PAGES = ["text/plain", "text/html", "application/json"]


@pytest.fixture
async def server():
    async with SlackServer(echo=False) as server:
        yield server


@pytest.fixture
async def sender(server):
    async with sending(server) as sender:
        yield sender


async def test_a_short_answer_is_one_post_that_unfurls_nothing(server, sender):
    question = await ask(server)
    await post(sender, question, "**30 days** [terms](https://a.example)")
    [sent] = made(server, "chat.postMessage")
    assert sent["markdown_text"] == "**30 days** [terms](https://a.example)"
    assert [sent[name] for name in ("unfurl_links", "unfurl_media", "link_names")] == [False] * 3
    assert sent["thread_ts"] == question.conversation.thread
    assert not made(server, "chat.startStream")


@pytest.mark.parametrize("channel", ["C100", "D100"])
async def test_an_answer_that_grows_is_a_stream_that_gets_only_what_is_new(server, sender, channel):
    question = await ask(server, channel=channel)
    ref = await post(sender, question, "30 days", is_growing=True)
    await sender.edit(question, ref, "30 days, if <new> & u", is_growing=True)
    await sender.edit(question, ref, "30 days, if <new> & unused.", is_growing=False)
    assert shown(server, question) == ["30 days, if &lt;new> & unused."]
    appended = [call["markdown_text"] for call in made(server, "chat.appendStream")]
    assert appended == [", if &lt;new> & u"]
    assert made(server, "chat.stopStream")[0]["markdown_text"] == "nused."
    assert not made(server, "chat.update")
    assert not server.errors


async def test_another_text_replaces_what_was_streamed(server, sender):
    """An edited question restarts the answer in the same post."""
    question = await ask(server)
    ref = await post(sender, question, "30 days", is_growing=True)
    await sender.edit(question, ref, "You can pay", is_growing=True)
    await sender.edit(question, ref, "You can pay by card.", is_growing=False)
    assert shown(server, question) == ["You can pay by card."]
    assert not server.errors


@pytest.mark.parametrize("dies_at", ["append", "stop"])
async def test_a_stream_that_dies_leaves_nothing_out(server, sender, dies_at):
    question = await ask(server)
    ref = await post(sender, question, "30 days", is_growing=True)
    server.stream_seconds = -1.0
    if dies_at == "append":
        await sender.edit(question, ref, "30 days, if", is_growing=True)
        assert shown(server, question) == ["30 days, if"]
    await sender.edit(question, ref, "30 days, if unused.", is_growing=False)
    assert shown(server, question) == ["30 days, if unused."]
    assert [error for _, error in server.errors] == ["message_not_in_streaming_state"]
    assert "streaming_state" not in server.messages[server.channel_id][-1]


async def test_an_append_whose_answer_was_lost_is_not_appended_twice(server, sender):
    question = await ask(server)
    ref = await post(sender, question, "30 days", is_growing=True)
    server.fail_next("chat.appendStream", after=True)
    with pytest.raises(PlatformBusy):
        await sender.edit(question, ref, "30 days, if", is_growing=True)
    await sender.edit(question, ref, "30 days, if unused.", is_growing=False)
    assert shown(server, question) == ["30 days, if unused."]


async def test_an_append_that_was_cancelled_is_not_appended_twice(server, sender):
    """The customer stops an answer while it is being sent."""
    question = await ask(server)
    ref = await post(sender, question, "30 days", is_growing=True)
    server.fail_next("chat.appendStream", status=500, after=True, delay=0.05)
    append = asyncio.create_task(sender.edit(question, ref, "30 days, if", is_growing=True))
    await server.wait_for(lambda: made(server, "chat.appendStream"))
    append.cancel()
    await asyncio.gather(append, return_exceptions=True)
    await server.wait_for(lambda: shown(server, question) == ["30 days, if"])
    await sender.edit(question, ref, "30 days, if (stopped)", is_growing=False)
    assert shown(server, question) == ["30 days, if (stopped)"]


async def test_an_end_whose_answer_was_lost_can_be_repeated(server, sender):
    question = await ask(server)
    ref = await post(sender, question, "30 days", is_growing=True)
    server.fail_next("chat.stopStream", after=True)
    with pytest.raises(PlatformBusy):
        await sender.edit(question, ref, "30 days.", is_growing=False)
    await sender.edit(question, ref, "30 days.", is_growing=False)
    assert shown(server, question) == ["30 days."]


async def test_where_there_are_no_streams_an_answer_grows_by_edits(server, sender):
    server.no_streams.add(server.channel_id)
    for _ in range(2):
        question = await ask(server)
        ref = await post(sender, question, "30 days", is_growing=True)
        await sender.edit(question, ref, "30 days, if", is_growing=True)
        await sender.edit(question, ref, "30 days, if unused.", is_growing=False)
        assert shown(server, question) == ["30 days, if unused."]
    assert len(made(server, "chat.startStream")) == 1  # remembered
    unthreaded = Message(
        "slack:T100:D100:1.1", ConversationKey("slack", "T100", "D100"), Author("U"), "?", True
    )
    await post(sender, unthreaded, "30 days", is_growing=True)
    assert len(made(server, "chat.startStream")) == 1


async def test_a_long_answer_is_split_and_nothing_is_lost(server, sender):
    text = "\n\n".join(f"Paragraph {n}: " + f"word{n} & <b> " * 60 for n in range(60))
    question = await ask(server)
    parts = split(text, sender.limit)
    assert len(parts) > 3
    for number, part in enumerate(parts[:3]):
        ref = await post(sender, question, part[:50], number, is_growing=True)
        await sender.edit(question, ref, part, is_growing=False)
        await sender.finish(question, [Part(ref, part)], Reply(part, citations=CITATIONS), ())
    sent = [m["blocks"][0]["text"].replace("&lt;", "<") for m in server.messages[server.channel_id][1:]]
    assert sent == parts[:3]
    assert all("Sources:" in json.dumps(m["blocks"][1:]) for m in server.messages[server.channel_id][1:])
    assert not server.errors


CITATIONS = tuple(
    Citation("https://help.example/returns", f"Returns {n}", 0, 9, "Within 30 days. " * 9) for n in range(5)
)


async def test_a_proxys_page_in_place_of_slacks_answer_means_later(server, sender):
    question = await ask(server)
    sender._calls._pace._posts = lambda *place: Measure(99, 99, 99, 0)
    for status in (200, 403, 502):
        for kind in PAGES:
            server.fail_next("chat.postMessage", status=status, content_type=kind)
            with pytest.raises(PlatformBusy):
                await post(sender, question, "hello")
    server.fail_next("chat.postMessage", status=503, headers={"Retry-After": "Mon, 23 Nov 2026 14:00:00 GMT"})
    with pytest.raises(PlatformBusy, match="503"):
        await post(sender, question, "hello")
    server.fail_next("chat.postMessage", "channel_not_found")
    with pytest.raises(PlatformRefused, match="channel_not_found"):
        await post(sender, question, "hello")


async def test_a_sender_that_could_not_open_does_so_with_its_first_post(server, sender):
    question = await ask(server)
    server.fail_next("auth.test", "internal_error", times=2)
    with pytest.raises(PlatformBusy):
        await sender.open()
    with pytest.raises(PlatformBusy):
        await post(sender, question, "hello")
    ref = await post(sender, question, "hello")
    await sender.edit(question, ref, "hello again", is_growing=False)
    assert shown(server, question) == ["hello again"]
    assert len(made(server, "auth.test")) == 3
    server.bot_token = "xoxb-new"  # the old one is revoked
    sender._calls._token_of = lambda workspace, enterprise: asyncio.sleep(0, "xoxb-old")
    with pytest.raises(PlatformBusy, match="invalid_auth"):  # what is to be said must not be lost
        await sender.edit(question, ref, "hello", is_growing=False)


async def test_each_workspace_has_its_own_token(server):
    asked = []

    async def token_of(workspace, enterprise):
        asked.append((workspace, enterprise))
        return server.bot_token if workspace == "T100" else None

    sender = SlackSender(token_of, server.api_url)
    await sender.open()
    assert not server.calls  # there is no token to be checked
    question = await ask(server)
    await post(sender, question, "hello")
    assert "team_id" not in made(server, "chat.postMessage")[0]
    grid = Message(
        question.id, question.conversation, question.author, "?", False, address={"enterprise": "E1"}
    )
    await post(sender, grid, "hello")
    assert made(server, "chat.postMessage")[1]["team_id"] == "T100"
    elsewhere = ConversationKey("slack", "T200", server.channel_id, "1.1")
    with pytest.raises(PlatformRefused, match="not installed in the Slack workspace T200"):
        await post(sender, Message("slack:T200:C:1.1", elsewhere, Author("U"), "?", False), "hello")
    assert asked == [("", ""), ("T100", ""), ("T100", "E1"), ("T200", "")]
    await sender.close()


async def test_staff_is_led_to_a_thread(server, sender):
    question = await ask(server)
    assert sender.link_to(question) == f"https://app.slack.com/client/T100/{server.channel_id}"
    await sender.open()
    ts = question.conversation.thread.replace(".", "")
    assert sender.link_to(question) == f"https://frontdesk.slack.com/archives/{server.channel_id}/p{ts}"
    assert sender.link_to(await ask(server, channel=server.dm_channel_id)) == ""


async def test_a_deleted_questions_post_is_taken_away(server, sender):
    question = await ask(server)
    ref = await post(sender, question, "30 days", is_growing=True)
    server.fail_next("chat.delete", "streaming_state_conflict")
    for _ in range(2):  # gone already: nothing
        await sender.delete(question, ref)
    assert len(made(server, "chat.stopStream")) == 1
    assert shown(server, question) == []
    server.fail_next("chat.delete", "cant_delete_message")
    with pytest.raises(PlatformRefused):
        await sender.delete(question, ref)


async def test_a_command_is_answered_with_its_person_alone_where_the_bot_cannot_post(server, sender):
    command = called(server, "CSECRET")
    ref = await post(sender, command, "30 days")
    await sender.edit(command, ref, "30 days, if unused.", is_growing=False)
    await sender.finish(command, [Part(ref, "30 days, if unused.")], Reply("…", citations=CITATIONS), ())
    await sender.post_file(command, TextFile("a.txt", "a"), nonce="n", is_retry=False)
    answer, file = server.messages[server.dm_channel_id]
    assert answer["blocks"][0]["text"] == "30 days, if unused."
    assert "Sources:" in json.dumps(answer["blocks"])
    assert file["files"][0]["title"] == "a.txt"
    for _ in range(2):
        await sender.delete(command, ref)
    assert server.messages[server.dm_channel_id] == [file]


async def test_what_only_a_channel_may_read_goes_to_nobody_else(server, sender):
    """A notice to staff, a question of a thread, and one whose author has no messages."""
    shut = called(server, "CSECRET")
    in_thread = replace(shut, conversation=replace(shut.conversation, thread="1.1"))
    for each in (replace(shut, author=Author("")), in_thread, replace(shut, author=Author("UGONE"))):
        with pytest.raises(PlatformRefused):
            await post(sender, each, "hello")
    server.fail_next("chat.postMessage", "is_archived")
    with pytest.raises(PlatformRefused, match="is_archived"):
        await post(sender, called(server, server.channel_id), "hello")
    assert not server.messages[server.dm_channel_id]
    assert len(made(server, "conversations.open")) == 1


async def test_what_is_known_of_refusals_has_bounds(server, sender, monkeypatch):
    for module in ("status", "streams"):
        monkeypatch.setattr(f"bots.platforms.slack.{module}._MOST_REFUSALS", 2)
    question = await ask(server)
    for number in range(4):
        elsewhere = replace(question, conversation=replace(question.conversation, channel=f"CGONE{number}"))
        await sender.typing(replace(elsewhere, id=f"{number}"))
        with pytest.raises(PlatformRefused):
            await post(sender, elsewhere, "hello", is_growing=True)
    assert [key[1] for key in sender._status._refusals] == ["CGONE2", "CGONE3"]
    assert [key[1] for key in sender._streams._refusals] == ["CGONE2", "CGONE3"]
