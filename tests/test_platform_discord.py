"""Discord as its users see it: our adapter, a worker, discord.py unmodified, a local server for Discord."""

import asyncio
import contextlib

import pytest
from discord_parts import posted, receiver_of, sent
from discord_server import DiscordServer
from running import background, working
from scripted import AskingBack, ScriptedEngine

from bots.platforms.discord import DiscordSender, make_receiver, open_sender
from bots.pulse import Pulse
from bots.registry import Registry
from bots.settings import Settings

ANSWER = "You have 30 days to return it."


@pytest.fixture
async def server(monkeypatch):
    async with DiscordServer() as server:
        server.redirect(monkeypatch)
        yield server


@contextlib.asynccontextmanager
async def frontdesk(server, store, engine=None, **options):
    """The receiving and the sending half, and a worker between them."""
    registry = Registry()
    registry.load(["plugins"])
    receiver = receiver_of(server, store, store.intake, commands=registry.commands.values(), **options)
    sender = DiscordSender(server.token)
    await sender.open()
    try:
        async with (
            background(receiver.run_forever()),
            working(store, engine or ScriptedEngine(ANSWER), {"discord": sender}, registry),
        ):
            await server.wait_for(lambda s: s.connected and s.commands.get(None))
            yield
    finally:
        await sender.close()


async def shown_in(server, channel, text):
    """The bot's whole post with this text."""

    def find(_):
        found = [m for m in server.messages[channel] if m["author"]["bot"] and text in m["content"]]
        return found and found[-1]

    return await server.wait_for(find, timeout=10)


async def test_a_mention_is_answered_in_its_channel_as_a_reply_and_can_be_rated(server, store):
    async with frontdesk(server, store):
        question = await server.say(server.channel_id, "how long?", mention_bot=True)
        answer = await shown_in(server, server.channel_id, ANSWER)
        assert answer["message_reference"]["message_id"] == question["id"]
        await server.wait_for(lambda s: "rate" in str(answer["components"]))
        await server.click(answer, f"frontdesk:rate:up:discord:{question['id']}")
        while (await store.feedback.tally()).helpful != 1:
            await server.wait_for(lambda s: True)
    assert not server.messages[server.second_channel_id]


async def test_direct_messages_threads_and_replies_are_answered(server, store):
    async with frontdesk(server, store):
        await server.dm("how long?")
        await shown_in(server, server.dm_channel(server.user_id), ANSWER)
        await server.say(server.thread_id, "how long?", mention_bot=True)
        first = await shown_in(server, server.thread_id, ANSWER)
        await server.say(server.thread_id, "really?", reply_to=first)
        await server.wait_for(lambda s: posted(s, s.thread_id) == [ANSWER] * 2, timeout=10)


async def test_an_empty_mention_is_answered_with_the_help(server, store):
    async with frontdesk(server, store):
        await server.say(server.channel_id, "", mention_bot=True)
        await shown_in(server, server.channel_id, "/summarise")


async def test_the_slash_command_is_deferred_at_once_and_then_filled(server, store):
    async with frontdesk(server, store):
        interaction = await server.interact("ask", {"question": "how long?"})
        await server.wait_for(lambda s: s.response(interaction).callback)
        assert server.response(interaction).callback["type"] == 5
        await shown_in(server, server.channel_id, ANSWER)
    assert len(server.messages[server.channel_id]) == 1


async def test_a_plugin_is_called_through_a_window(server, store):
    engine = ScriptedEngine("The shop opens.")
    async with frontdesk(server, store, engine):
        opened = await server.interact("draft")
        await server.wait_for(lambda s: s.response(opened).callback)
        await server.submit(opened, {"notes": "new shop"})
        await shown_in(server, server.channel_id, "The shop opens.")
    assert engine.asked == ["new shop"]


async def test_a_thread_goes_on_without_a_mention(server, store):
    server.message_content_enabled = True
    async with frontdesk(server, store, message_content=True, knows=store.history.has):
        await server.say(server.thread_id, "how long?", mention_bot=True)
        await shown_in(server, server.thread_id, ANSWER)
        while await store.inbox.backlog():
            await server.wait_for(lambda s: True)
        await server.say(server.thread_id, "and how much?")
        await server.wait_for(lambda s: posted(s, s.thread_id) == [ANSWER] * 2, timeout=10)


async def test_personal_data_comes_back_in_private_and_is_masked_in_a_channel(server, store):
    engine = ScriptedEngine(lambda request: request.turns[-1].content)
    async with frontdesk(server, store, engine):
        await server.dm("/draft mail jane@x.example about it.")
        await shown_in(server, server.dm_channel(server.user_id), "jane@x.example")
        await server.say(server.channel_id, "/draft mail jane@x.example about it.", mention_bot=True)
        await shown_in(server, server.channel_id, "[email address]")


async def test_what_a_model_says_pings_nobody(server, store):
    hostile = ScriptedEngine("@everyone <@1100000000000000012> <@&5> look here.")
    async with frontdesk(server, store, hostile):
        await server.say(server.channel_id, "how long?", mention_bot=True)
        await server.interact("ask", {"question": "how long?"})
        await server.wait_for(lambda s: len([t for t in posted(s) if "look here" in t]) == 2, timeout=10)
    assert all(call.json["allowed_mentions"]["parse"] == [] for call in sent(server))
    shown = [m for m in server.messages[server.channel_id] if m["author"]["bot"]]
    assert not any(m["mentions"] or m["mention_everyone"] for m in shown)


@pytest.mark.parametrize("place", ["channel", "command"])
async def test_a_question_back_has_buttons_that_ask_what_they_say(server, store, place):
    async with frontdesk(server, store, AskingBack()):
        if place == "channel":
            await server.say(server.channel_id, "return?", mention_bot=True)
        else:
            await server.interact("ask", {"question": "return?"})

        def offered(_):
            found = [m for m in server.messages[server.channel_id] if "option" in str(m.get("components"))]
            return found and found[0]

        post = await server.wait_for(offered, timeout=10)
        labels = [button["label"] for button in post["components"][0]["components"]]
        assert labels == [*AskingBack.options, "None of these"]
        await server.click(post, "frontdesk:option:2")
        await shown_in(server, server.channel_id, "You asked a colleague: How do I return a gift?")


async def test_the_platform_is_put_together_from_settings(server, store):
    settings = Settings(
        discord_token=server.token,
        discord_api_url=server.rest_url,
        discord_gateway_url=server.gateway_url,
        discord_message_content=True,
    )
    server.message_content_enabled = True
    registry = Registry()
    registry.load(["plugins"])
    receiver = make_receiver(settings, store, registry, Pulse(store.redis, "discord"))
    sender = await open_sender(settings, store)
    async with background(receiver.run_forever()):
        await server.wait_for(lambda s: s.connected)
        assert server.intents & 1 << 15
        assert {"ask", "draft", "forget-me"} <= {command["name"] for command in server.commands[None]}
        await server.dm("hello")
        while not await store.inbox.backlog():
            await server.wait_for(lambda s: True)
    await sender.close()


def growing(reached, release):
    """An engine whose first answer stops in the middle and says so."""

    async def at(step):
        if step == "streaming" and not release.is_set():
            reached.set()
            await release.wait()

    long = ["First answer, which goes on and on.", "Second answer, and that is all there is."]
    return ScriptedEngine(long, at=at)


@pytest.mark.parametrize("what", ["edit", "delete", "stop"])
async def test_a_question_that_changes_while_it_is_answered(server, store, what):
    reached, release = asyncio.Event(), asyncio.Event()
    engine = growing(reached, release)
    async with frontdesk(server, store, engine):
        question = await server.say(server.channel_id, "how long?", mention_bot=True)
        post = await shown_in(server, server.channel_id, "First answer")
        await asyncio.wait_for(reached.wait(), 5)
        if what == "edit":
            await server.rewrite(question, f"<@{server.bot_id}> how much?")
            await server.wait_for(lambda s: len(engine.requests) == 2)
            release.set()
            await server.wait_for(lambda s: post["content"].startswith("Second answer"))
            assert engine.asked == ["how long?", "how much?"]
        elif what == "delete":
            await server.remove(question)
            await server.wait_for(lambda s: not posted(s))
        else:
            await server.click(post, f"frontdesk:stop:discord:{question['id']}:{server.user_id}")
            await server.wait_for(lambda s: "(stopped)" in post["content"])
            assert post["content"].startswith("First answer")
            await server.wait_for(lambda s: "stop" not in str(post["components"]))
        release.set()
    assert len(posted(server)) == (0 if what == "delete" else 1)
