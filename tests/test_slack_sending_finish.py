"""What belongs to an answer at Slack besides its text: sources, buttons, status, names."""

import asyncio
import json
from dataclasses import replace

import pytest
from slack_sdk.models.blocks import ActionsBlock, ContextActionsBlock, ContextBlock, MarkdownBlock
from slack_sdk.models.blocks.blocks import Block
from slack_sender import ask, made, post, sending, shown
from slack_server import SlackServer

from bots.message import Part, Reply
from bots.platforms.slack.blocks import blocks
from bots.platforms.slack.sender import SlackSender
from engine.types import Citation

RETURNS = Citation("returns.md", "Returns", 0, 40, "You have 30 days\nto send it back.")
FILE = Citation("notes.txt", "", 0, 9, "My number is <PHONE_1>.", first_line=3, last_line=4)
HOSTILE = "@everyone @here <!channel> <!here> <@U1> <@&1> <!subteam^S1> <http://evil.example|help> <#C1>"


@pytest.fixture
async def server():
    async with SlackServer(echo=False) as server:
        yield server


@pytest.fixture
async def sender(server):
    async with sending(server) as sender:
        yield sender


async def answered(server, sender, reply, options=(), **more):
    """The blocks of an answer, as the server keeps them, read by the SDK's own models."""
    question = await ask(server, **more)
    ref = await post(sender, question, reply.text)
    for _ in range(2):
        await sender.finish(question, [Part(ref, reply.text)], reply, options)
    message = server.find(question.conversation.channel, ref)
    assert message["text"] == reply.text
    return question, Block.parse_all(message.get("blocks") or [])


async def test_sources_and_ratings_stand_below_an_answer(server, sender):
    reply = Reply("**30 days**", citations=(RETURNS, FILE), language="de")
    question, (text, sources, ratings) = await answered(server, sender, reply)
    assert isinstance(text, MarkdownBlock)
    assert text.text == "**30 days**"
    assert isinstance(sources, ContextBlock)
    [lines] = [element.to_dict() for element in sources.elements]
    assert lines["verbatim"] is True
    assert lines["text"].splitlines() == [
        "Quellen:",
        "• Returns — returns.md",
        ">You have 30 days to send it back.",
        "• notes.txt, Zeilen 3 bis 4",
        ">My number is [phone].",
    ]
    assert isinstance(ratings, ContextActionsBlock)
    ratings.validate_json()
    [rating] = ratings.to_dict()["elements"]
    assert rating["action_id"] == "frontdesk_feedback"
    assert rating["positive_button"]["value"] == f"up:{question.id}"
    assert rating["negative_button"]["value"] == f"down:{question.id}"
    assert rating["positive_button"]["text"]["text"] == "Hilfreich"
    assert len(made(server, "chat.update")) == 2  # one each time


async def test_one_source_of_the_web_is_a_link(server, sender):
    page = Citation("https://help.example/a?b=1&c=<|>", "Returns | help", 0, 3, "")
    _, found = await answered(server, sender, Reply("30 days", citations=(page,), language="en"))
    text = found[1].elements[0].text
    assert text == "Source: <https://help.example/a?b=1&amp;c=&lt;%7C&gt;|Returns | help>"


@pytest.mark.parametrize("decision", ["ask_back", "hand_over"])
async def test_options_are_buttons(server, sender, decision):
    options = ("How do I return a gift?", "x" * 100)
    text = f"Which one?\n1. {options[0]}\n2. {options[1]}"
    _, found = await answered(server, sender, Reply(text, decision), options)
    _, buttons, ratings = found
    assert isinstance(buttons, ActionsBlock)
    assert [b.text.text for b in buttons.elements] == [options[0], "x" * 74 + "…"]
    assert [b.value for b in buttons.elements] == list(options)
    assert [b.action_id for b in buttons.elements] == ["frontdesk_option_1", "frontdesk_option_2"]
    assert isinstance(ratings, ContextActionsBlock)


async def test_a_command_or_an_error_gets_nothing(server, sender):
    for decision in ("command", "error", "stopped"):
        _, found = await answered(server, sender, Reply("done", decision))
        assert len(found) == 1
    assert not made(server, "chat.update")


async def test_options_stand_where_their_list_does_and_ratings_at_the_end(server, sender):
    question = await ask(server)
    texts = ["Which one?\n1. A\n2. B", "and some more"]
    parts = [Part(await post(sender, question, text, n), text) for n, text in enumerate(texts)]
    await sender.finish(question, parts, Reply("\n".join(texts), "ask_back"), ["A", "B"])
    kinds = [[b["type"] for b in server.find(server.channel_id, part.ref)["blocks"]] for part in parts]
    assert kinds == [["markdown", "actions"], ["markdown", "context_actions"]]
    await sender.finish(question, (), Reply("", "stopped"), ())


def test_what_there_is_no_room_for_is_left_out():
    many = tuple(replace(RETURNS, heading=f"{n} " * 90, quote="q" * 300) for n in range(40))
    reply = Reply("", citations=many, language="en")
    full = blocks("x" * 11_500, reply, ["o" * 1900] * 25, "slack:T:C:1.1")
    assert [block["type"] for block in full] == ["markdown", "context", "context_actions"]
    assert len(json.dumps(full)) <= 13_000
    assert "qqq" not in str(full)
    short = blocks("x", reply, ["o" * 300] * 5, "slack:T:C:1.1")
    assert [block["type"] for block in short] == ["markdown", "context", "actions", "context_actions"]
    assert len(short[1]["elements"][0]["text"]) <= 2_000
    assert len(blocks("x" * 12_990, reply, ["a"], "i")) == 1


async def test_hostile_text_pings_nobody_in_any_place(server, sender):
    """Slack reads its `<…>` in every text it is sent; no other way leads to a ping without `link_names`."""
    evil = Citation(f"https://{HOSTILE}", HOSTILE, 0, 9, HOSTILE)
    plain = replace(evil, document=HOSTILE)
    for channel in (server.channel_id, server.dm_channel_id):
        question = await ask(server, HOSTILE, channel=channel)
        await sender.typing(question)
        ref = await post(sender, question, HOSTILE, is_growing=True)
        await sender.edit(question, ref, HOSTILE * 2, is_growing=True)
        text = f"{HOSTILE * 3}\n1. {HOSTILE}"
        await sender.edit(question, ref, text, is_growing=False)
        await sender.edit(question, ref, text, is_growing=False)
        reply = Reply(text, "ask_back", citations=(evil, plain), language="en")
        await sender.finish(question, [Part(ref, text)], reply, [HOSTILE])
        await post(sender, question, HOSTILE, 1)
        assert len(server.find(channel, ref)["blocks"]) == 4
    assert not server.errors
    sent = [call.args for call in server.calls if call.method.startswith("chat.")]
    parsed = [text for args in sent for text in parsed_texts(args)]
    assert len(parsed) > 15
    for text in parsed:
        live = text.replace(f"<https://{escaped(HOSTILE).replace('|', '%7C')}|{escaped(HOSTILE)}>", "")
        assert "<" not in live
    assert all(args.get("link_names") in (None, False) for args in sent)
    assert not any(args.get("unfurl_links") or args.get("unfurl_media") for args in sent)


def parsed_texts(args):
    """Every text in which Slack looks for mentions and links; it does not in `plain_text`."""
    yield from (args[name] for name in ("text", "markdown_text") if name in args)
    for block in args.get("blocks") or ():
        if block["type"] == "markdown":
            yield block["text"]
        yield from (e["text"] for e in block.get("elements", ()) if e["type"] == "mrkdwn")


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def test_a_session_shows_that_it_works_and_rests_afterwards(server, sender):
    question = await ask(server, f"How do I return <EMAIL_1>{' x' * 200}", channel=server.dm_channel_id)
    for _ in range(3):
        await sender.typing(question)
    ref = await post(sender, question, "30 days", is_growing=True)
    await sender.edit(question, ref, "30 days.", is_growing=False)
    await sender.finish(question, [Part(ref, "30 days.")], Reply("30 days."), ())
    begun, ended = server.sessions[server.dm_channel_id, question.conversation.thread]
    assert begun["status"] == "processing"
    assert begun["initiator_user_id"] == server.user_id
    assert begun["title"].startswith("How do I return [email] x")
    assert len(begun["title"]) == 200
    assert ended["status"] == "active"
    follow_up = await ask(
        server, "and then?", channel=server.dm_channel_id, thread_ts=question.conversation.thread
    )
    await sender.typing(follow_up)
    assert "title" not in server.sessions[server.dm_channel_id, question.conversation.thread][-1]


async def test_a_stopped_session_rests_whoever_began(server, sender):
    question = await ask(server, channel=server.dm_channel_id)
    ref = await post(sender, question, "30")
    await sender.finish(question, [Part(ref, "30")], Reply("30", "stopped"), ())
    [ended] = server.sessions[server.dm_channel_id, question.conversation.thread]
    assert ended["status"] == "active"


async def test_a_thread_in_a_channel_shows_a_line(server, sender):
    question = await ask(server)
    await sender.typing(question)
    [line] = made(server, "assistant.threads.setStatus")
    assert (line["channel_id"], line["thread_ts"]) == (server.channel_id, question.conversation.thread)
    assert not made(server, "agents.sessions.setStatus")


async def test_a_status_is_asked_for_again_after_a_while_only(server, sender, monkeypatch):
    question = await ask(server)
    await sender.typing(question)
    monkeypatch.setattr("bots.platforms.slack.status._AGAIN_SECONDS", 0.0)
    await sender.typing(question)
    assert len(made(server, "assistant.threads.setStatus")) == 2


async def test_a_status_that_slack_refuses_is_given_up_for_its_channel(server, sender):
    for reason in ("unknown_method", "missing_scope"):
        server.fail_next("agents.sessions.setStatus", reason)
        server.fail_next("assistant.threads.setStatus", reason)
    server.fail_next("assistant.threads.setStatus", "internal_error")
    for _ in range(3):
        await sender.typing(await ask(server, channel=server.dm_channel_id))
        await sender.typing(await ask(server))
    assert len(made(server, "agents.sessions.setStatus")) == 1
    assert [call["channel_id"] for call in made(server, "assistant.threads.setStatus")] == [
        server.dm_channel_id,
        server.channel_id,
    ]


async def test_a_status_gives_way_where_many_are_shown(server, sender):
    for channel in (server.channel_id, server.dm_channel_id):
        sender._calls._pace.can_spare = lambda *place: False
        await sender.typing(await ask(server, channel=channel))
    assert not server.calls


async def test_a_status_holds_up_no_answer(server, sender, monkeypatch):
    monkeypatch.setattr("bots.platforms.slack.status._MOST_SECONDS", 0.05)
    server.fail_next("agents.sessions.setStatus", "internal_error", delay=1.0)
    question = await ask(server, channel=server.dm_channel_id)
    async with asyncio.timeout(0.8):
        await sender.typing(question)
    server.fail_next("agents.sessions.setStatus", "internal_error")
    ref = await post(sender, question, "30 days")
    await sender.finish(question, [Part(ref, "30 days")], Reply("30 days"), ())
    assert shown(server, question) == ["30 days"]


async def test_names_are_asked_once_an_hour(server, sender):
    question = await ask(server)
    server.fail_next("users.info", "internal_error")
    assert await sender.name_of(question) == ""
    assert [await sender.name_of(question) for _ in range(2)] == ["Anna"] * 2
    nobody = replace(question, author=replace(question.author, id="UNOBODY"))
    assert [await sender.name_of(nobody) for _ in range(2)] == [""] * 2
    assert [call["user"] for call in made(server, "users.info")] == ["UANNA", "UANNA", "UNOBODY"]


def test_citations_are_blocks_and_not_written_below_the_text():
    assert SlackSender.shows_citations
