"""Slash commands, modals, suggestions, the message menu and their registration at Discord."""

from typing import Literal

import pytest
from discord_parts import receiving
from discord_server import DiscordServer

from bots import commands, keys
from bots.platforms.discord.slash import Slash
from plugins import Context, command


@pytest.fixture
async def server(monkeypatch):
    async with DiscordServer() as server:
        server.redirect(monkeypatch)
        yield server


@command(suggest={"city": ["Oslo", "Bergen", "Osnabrück"]})
def weather(ctx: Context, city: str, days: int = 1) -> str:
    """Tell the weather."""
    return f"{city} {days}"


@command(suggest={"word": lambda typed: [f"{typed}{n}" for n in range(40)]})
def lookup(ctx: Context, word: str) -> str:
    return word


@command
def book(ctx: Context, size: Literal["S", "M"], count: int, price: float, gift: bool, note: str) -> str:
    """Book something."""
    return note


@command
def draft(ctx: Context, notes: str) -> str:
    """Draft a text."""
    return notes


@command(name="Odd name!")
def odd(ctx: Context, Loud: bool = False) -> str:
    return f"{Loud}"


def specs(*functions):
    return [vars(function)[commands.SPEC] for function in functions]


COMMANDS = specs(weather, lookup, book, draft, odd)


async def with_commands(server):
    await server.wait_for(lambda s: s.commands.get(None))
    return {found["name"]: found for found in server.commands[None]}


async def test_every_command_of_the_registry_is_a_slash_command_typed_by_its_signature(server, store):
    async with receiving(server, store, commands=COMMANDS):
        found = await with_commands(server)
    assert set(found) == {"ask", "weather", "lookup", "book", "draft", "odd-name", "Ask about this"}
    assert [option["type"] for option in found["book"]["options"]] == [3, 4, 10, 5, 3]
    assert [option["required"] for option in found["book"]["options"]] == [True] * 4 + [False]
    assert [choice["value"] for choice in found["book"]["options"][0]["choices"]] == ["S", "M"]
    assert found["weather"]["options"][0]["autocomplete"]
    assert found["weather"]["description"] == "Tell the weather."
    assert found["Ask about this"]["type"] == 3
    for each in found.values():
        assert (each["integration_types"], each["contexts"]) == ([0, 1], [0, 1, 2])


async def test_a_call_is_deferred_at_once_and_brings_its_arguments_by_name(server, store):
    async with receiving(server, store, commands=COMMANDS) as received:
        await with_commands(server)
        options = {"size": "M", "count": 3, "price": 1.5, "gift": True, "note": "for Anna, soon"}
        interaction = await server.interact("book", options)
        await server.wait_for(lambda s: received.messages)
        assert server.response(interaction).callback["type"] == 5
        await server.interact("odd-name", {"loud": True}, server.dm_channel(server.user_id))
        await server.wait_for(lambda s: len(received.messages) == 2)
    first, second = received.messages
    assert first.command == "book"
    assert first.arguments == {
        "size": "M",
        "count": "3",
        "price": "1.5",
        "gift": "true",
        "note": "for Anna, soon",
    }
    assert first.text == "/book M 3 1.5 true for Anna, soon"
    assert COMMANDS[2].parse_named(first.arguments) == ["M", 3, 1.5, True, "for Anna, soon"]
    assert (second.command, second.arguments) == ("odd name!", {"Loud": "true"})
    assert (first.is_private, second.is_private) == (False, True)


async def test_ask_asks_what_it_says(server, store):
    async with receiving(server, store) as received:
        await with_commands(server)
        await server.interact("ask", {"question": "How long?"})
        await server.wait_for(lambda s: received.messages)
    assert (received.texts, received.messages[0].command) == (["How long?"], "")


async def test_a_text_left_out_is_asked_for_in_a_window_which_works_after_a_restart(server, store):
    async with receiving(server, store, commands=COMMANDS) as received:
        await with_commands(server)
        opened = await server.interact("draft")
        booked = await server.interact("book", {"size": "S", "count": 1, "price": 2.0, "gift": False})
        await server.wait_for(lambda s: s.response(opened).callback and s.response(booked).callback)
        assert received.messages == []
    async with receiving(server, store, commands=COMMANDS) as received:
        sent = await server.submit(opened, {"notes": "new shop\nopens on Monday"})
        await server.submit(booked, {"note": "blue"})
        await server.wait_for(lambda s: len(received.messages) == 2)
        assert server.response(sent).callback["type"] == 5
    drafted, booking = sorted(received.messages, key=lambda message: message.command, reverse=True)
    assert (drafted.command, drafted.arguments) == ("draft", {"notes": "new shop\nopens on Monday"})
    assert drafted.text == "/draft new shop\nopens on Monday"
    assert booking.arguments == {"size": "S", "count": "1", "price": "2.0", "gift": "false", "note": "blue"}


async def test_suggestions_are_those_of_the_plugin_that_fit_what_is_typed(server, store):
    async with receiving(server, store, commands=COMMANDS):
        await with_commands(server)
        cities = await server.type_in("weather", "city", "os")
        words = await server.type_in("lookup", "word", "x")
        await server.wait_for(lambda s: s.response(cities).callback and s.response(words).callback)
    callback = server.response(cities).callback
    assert (callback["type"], [choice["name"] for choice in callback["data"]["choices"]]) == (
        8,
        ["Oslo", "Osnabrück"],
    )
    assert len(server.response(words).callback["data"]["choices"]) == 25


async def test_many_choices_are_searched(server, store):
    sizes = Literal[tuple(f"size {n}" for n in range(30))]

    def many(ctx, size):
        return size

    many.__annotations__ = {"size": sizes}
    async with receiving(server, store, commands=specs(command(many))):
        await with_commands(server)
        typing = await server.type_in("many", "size", "SIZE 2")
        await server.wait_for(lambda s: s.response(typing).callback)
    names = [choice["name"] for choice in server.response(typing).callback["data"]["choices"]]
    assert names == ["size 2", *(f"size {n}" for n in range(20, 30))]


async def test_the_menu_of_a_message_asks_about_it_without_the_intent(server, store):
    async with receiving(server, store) as received:
        await with_commands(server)
        about = await server.say(server.channel_id, "Where is my order?", attachments={"bill.txt": "55"})
        interaction = await server.choose("Ask about this", about)
        await server.wait_for(lambda s: received.messages)
        assert server.response(interaction).callback["type"] == 5
    assert received.texts == ["Where is my order?"]
    assert [file.name for file in received.messages[0].attachments] == ["bill.txt"]


async def test_a_call_that_an_earlier_version_registered_becomes_what_people_would_type(server, store):
    async with receiving(server, store, commands=COMMANDS):
        await with_commands(server)
    async with receiving(server, store) as received:
        await server.wait_for(
            lambda s: "ask" in {c["name"] for c in s.commands[None]} and len(s.commands[None]) == 2
        )
        payload = {
            "id": "5",
            "name": "weather",
            "type": 1,
            "options": [{"type": 3, "name": "city", "value": "Oslo"}],
        }
        await server._interaction(2, payload, server.channel_id, server.user_id)
        await server.wait_for(lambda s: received.messages)
    assert received.texts == ["/weather Oslo"]


def puts(server):
    return [call.status for call in server.calls if call.method == "PUT"]


async def test_commands_are_registered_only_when_they_changed(server, store):
    for _ in range(2):
        async with receiving(server, store, commands=COMMANDS):
            await with_commands(server)
    assert puts(server) == [200]
    async with receiving(server, store, commands=COMMANDS[:1]):
        await server.wait_for(lambda s: len(s.commands[None]) == 3)
    assert puts(server) == [200, 200]
    assert await store.redis.exists(keys.registered("discord", str(server.application_id)))


@pytest.mark.parametrize(
    ("status", "headers"), [(403, {}), (429, {"Retry-After": "300"})], ids=["refused", "limited"]
)
async def test_when_registering_fails_everything_else_works(server, store, status, headers):
    server.fail_next(status, headers, path="PUT ")
    async with receiving(server, store, commands=COMMANDS) as received:
        await server.say(server.channel_id, "hello", mention_bot=True)
        await server.wait_for(lambda s: received.messages)
    async with receiving(server, store, commands=COMMANDS):
        await with_commands(server)


async def test_an_interaction_answered_too_late_is_answered_in_the_channel(server, store):
    async with receiving(server, store) as received:
        await with_commands(server)
        now = server.clock()
        server.clock = lambda: now
        interaction = await server._interaction(
            2,
            {
                "id": "5",
                "name": "ask",
                "type": 1,
                "options": [{"type": 3, "name": "question", "value": "late"}],
            },
            server.channel_id,
            server.user_id,
        )
        server.clock = lambda: now + 4
        await server.wait_for(lambda s: received.messages)
    assert server.response(interaction).callback is None
    assert received.messages[0].address == {}


async def test_an_interaction_that_a_resume_brings_again_is_one_question(server, store):
    async with receiving(server, store) as received:
        await with_commands(server)
        interaction = await server.interact("ask", {"question": "How long?"})
        await server.wait_for(lambda s: received.messages)
        await server.event("INTERACTION_CREATE", interaction)
        await server.wait_for(lambda s: [call for call in s.calls if call.status == 400])
        await server.dm("the end")
        await server.wait_for(lambda s: "the end" in received.texts)
    assert received.texts == ["How long?", "the end"]
    assert received.messages[0].address["token"]


async def test_in_a_chat_of_two_people_who_brought_the_app_along_nothing_is_private(server, store):
    async with receiving(server, store) as received:
        await with_commands(server)
        elsewhere = server.dm_channel(server.user_id)
        payload = await server.interact("ask", {"question": "secret?"}, elsewhere)
        again = payload | {"id": str(int(payload["id"]) + 1), "context": 2}
        await server.event("INTERACTION_CREATE", again)
        await server.wait_for(lambda s: len(received.messages) == 2)
    assert {message.id: message.is_private for message in received.messages} == {
        f"discord:{payload['id']}": True,
        f"discord:{again['id']}": False,
    }


def test_what_does_not_fit_into_discords_limits_is_left_out():
    def crowded(ctx, *names):
        return ""

    long = [commands.Command(f"command-{n}", "Help.", crowded, ()) for n in range(120)]
    wide = commands.Parameter("p", str, "", takes_rest=False)
    too_wide = commands.Command("wide", "Help.", crowded, (wide,) * 26)
    payload = Slash([too_wide, *long]).payload()
    assert len([entry for entry in payload if entry["type"] == 1]) == 100
    assert "wide" not in {entry["name"] for entry in payload}
