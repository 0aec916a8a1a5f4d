"""Slash commands, forms, the Home, prompts and the manifest that announces them."""

import json

import pytest
from slack_receiver import Recorder, receiving, registry_of, settings_for
from slack_server import SlackServer

from bots.build import load_plugins
from bots.message import ConversationKey
from bots.platforms.slack import manifest
from bots.platforms.slack.slash import slash_name

ORDERS = '''
from typing import Literal

from plugins import Context, command


@command
async def order(
    ctx: Context, number: int, speed: Literal["slow", "fast"], gift: bool = False,
    rebate: float = 0.5, note: str = "",
) -> str:
    """Order something <again> & again."""
    return f"{number} {speed} {gift} {rebate} {note}"


@command
async def help(ctx: Context) -> str:
    """Show what I can do."""
    return "help"


@command
async def tell(ctx: Context, what: str = "") -> str:
    """Tell something."""
    return what
'''


@pytest.fixture
async def server():
    async with SlackServer(ack_timeout=1.0) as server:
        yield server


@pytest.fixture
def intake():
    return Recorder()


@pytest.fixture
def registry(tmp_path):
    return registry_of(ORDERS, tmp_path)


async def opened(server):
    """The form that was opened last."""
    await server.wait_for(lambda: server.views)
    return server.views.popitem()[1]


@pytest.mark.parametrize(
    ("typed", "text", "message"),
    [
        ("/order", "55 fast yes", "/order 55 fast yes"),
        ("/tell", "", "/tell"),
        ("/frontdesk-help", "", "/help"),
        ("/ask", "how do I return it?", "how do I return it?"),
    ],
)
async def test_a_slash_command_is_a_message_in_its_channel(
    server, store, intake, registry, typed, text, message
):
    async with receiving(server, store, intake, registry=registry):
        assert await server.slash(typed, text, server.channel_id)
    assert [post["user"] for post in server.messages[server.channel_id]] == [server.user_id]  # it is seen
    (found,) = intake.messages
    assert (found.text, found.command, found.author.id) == (message, "", server.user_id)
    assert found.conversation == ConversationKey("slack", server.team_id, server.channel_id)
    assert found.is_direct and not found.is_private
    assert found.id.rpartition(":")[2].replace(".", "").isdecimal()  # from when on its answer is looked for


async def test_a_slash_command_in_the_direct_messages_is_private(server, store, intake, registry):
    async with receiving(server, store, intake, registry=registry):
        assert await server.slash("/tell", "me", server.dm_channel_id)
    assert intake.messages[0].is_private
    assert not server.messages[server.dm_channel_id]


async def test_a_command_that_is_gone_is_said_to_be_unknown(server, store, intake, registry):
    async with receiving(server, store, intake, registry=registry):
        ack = await server.slash("/gone", "now", server.channel_id)
    assert "/gone" in ack["payload"]["text"]
    assert not intake.messages


async def test_a_command_that_lacks_arguments_opens_a_form_made_from_its_signature(
    server, store, intake, registry
):
    server.locales[server.user_id] = "fr-FR"
    async with receiving(server, store, intake, registry=registry):
        assert await server.slash("/order", " ", server.channel_id)
        view = await opened(server)
        _, *fields = view["blocks"]
        assert [(field["block_id"], field["element"]["type"], field["optional"]) for field in fields] == [
            ("number", "number_input", False),
            ("speed", "static_select", False),
            ("gift", "radio_buttons", True),
            ("rebate", "number_input", True),
            ("note", "plain_text_input", True),
        ]
        assert [fields[row]["element"].get("is_decimal_allowed") for row in (0, 3)] == [False, True]
        assert fields[2]["element"]["initial_option"]["text"]["text"] == "Non"
        assert (fields[3]["element"]["initial_value"], fields[4]["element"]["multiline"]) == ("0.5", True)
        assert view["submit"]["text"] == "Envoyer"
        given = {"number": "55", "speed": "fast", "gift": "yes", "note": "as soon\nas possible"}
        assert await server.submit(view, given)
    (message,) = intake.messages
    assert (message.command, message.arguments) == ("order", given | {"rebate": "0.5"})
    assert message.text == "/order 55 fast yes 0.5 as soon\nas possible"
    assert message.conversation.channel == server.channel_id
    assert not server.errors


async def test_a_form_sent_twice_counts_once_and_empty_fields_are_not_given(server, store, registry):
    intake = Recorder()
    async with receiving(server, store, intake, registry=registry):
        await server.slash("/order", "", server.channel_id)
        view = await opened(server)
        for _ in range(2):
            assert await server.submit(view, {"number": "5", "speed": "slow", "rebate": ""})
    (message,) = intake.messages
    assert message.arguments == {"number": "5", "speed": "slow", "gift": "no"}
    assert message.text == "/order 5 slow no"


async def test_a_form_that_cannot_be_stored_stays_open(server, store, registry):
    intake = Recorder(OSError("Redis is away"))
    async with receiving(server, store, intake, registry=registry):
        await server.slash("/ask", "", server.channel_id)
        view = await opened(server)
        assert await server.submit(view, {"question": "why?"}) is None
        assert await server.submit(view, {"question": "why?"})
    assert intake.texts == ["why?"]


async def test_a_form_that_slack_does_not_open_ends_nothing(server, store, intake, registry):
    async with receiving(server, store, intake, registry=registry):
        server.fail_next("views.open", "expired_trigger_id")
        assert await server.slash("/order", "", server.channel_id)
        await server.wait_for(lambda: any(call.method == "views.open" for call in server.calls))
        assert await server.slash("/tell", "me", server.channel_id)
    assert intake.texts == ["/tell me"]


async def test_the_home_shows_help_in_the_persons_language_and_its_buttons_call(
    server, store, intake, registry
):
    server.locales[server.user_id] = "de-DE"
    async with receiving(server, store, intake, registry=registry, persona="Acme & Co <x>"):
        await server.open_home()
        home = await server.wait_for(lambda: server.homes.get(server.user_id))
        shown = json.dumps(home["blocks"], ensure_ascii=False)
        assert "Acme &amp; Co &lt;x&gt;" in shown and f"<@{server.bot_user_id}>" in shown
        assert "oder benutzen Sie einen Befehl" in shown
        assert "`/order &lt;number&gt; &lt;speed&gt; [gift] [rebate] [note]`" in shown
        assert "Order something &lt;again&gt; &amp; again." in shown and "`/frontdesk-help`" in shown
        assert await server.press(home, "frontdesk_call_help")
        assert await server.press(home, "frontdesk_call_order")
        view = await opened(server)
        assert await server.submit(view, {"number": "5", "speed": "slow"})
        assert await server.press(home, "frontdesk_call_ask")
        assert await server.submit(await opened(server), {"question": "warum?"})
    assert [(message.text, message.conversation.channel) for message in intake.messages] == [
        ("/help", server.dm_channel_id),
        ("/order 5 slow no 0.5", server.dm_channel_id),
        ("warum?", server.dm_channel_id),
    ]
    assert all(message.is_private for message in intake.messages)
    assert not server.errors


async def test_prompts_are_suggested_when_the_messages_tab_opens(server, store, intake):
    asked = tuple(f"Question {number}?" for number in range(6))
    async with receiving(server, store, intake, suggestions=asked):
        await server.open_home("messages")
        await server.wait_for(lambda: server.prompts)
    found = server.prompts[server.dm_channel_id]
    assert [prompt["message"] for prompt in found["prompts"]] == list(asked[:4])
    assert "thread_ts" not in found and found["title"]
    assert not server.errors and not server.homes


async def test_without_suggestions_no_prompts_are_set(server, store, intake):
    async with receiving(server, store, intake):
        await server.open_home("messages")
        await server.delivered()
    assert not [call for call in server.calls if call.method.startswith("assistant")]


def test_the_manifest_announces_what_the_receiver_listens_to(server, registry):
    found = manifest(settings_for(server, persona="Acme", suggestions=("Why?",)), registry)
    assert found["features"]["agent_view"]["suggested_prompts"] == [{"title": "Why?", "message": "Why?"}]
    assert "assistant_view" not in found["features"]
    assert [command["command"] for command in found["features"]["slash_commands"]] == [
        "/ask",
        "/frontdesk-help",
        "/order",
        "/tell",
    ]
    order = found["features"]["slash_commands"][2]
    assert order["usage_hint"] == "<number> <speed> [gift] [rebate] [note]" and "url" not in order
    settings = found["settings"]
    assert settings["socket_mode_enabled"] and "request_url" not in settings["interactivity"]
    assert set(settings["event_subscriptions"]["bot_events"]) >= server.subscriptions | {
        "agent_session_stopped",
        "app_home_opened",
    }
    assert {"chat:write", "commands", "files:read"} <= set(found["oauth_config"]["scopes"]["bot"])


def test_the_manifest_for_http_and_several_workspaces(server, registry):
    changes = {"slack_app_token": None, "slack_signing_secret": "s", "public_url": "https://desk.example/"}
    oauth = {"slack_client_id": "1.2", "slack_client_secret": "c"}
    found = manifest(settings_for(server, **changes, **oauth), registry)
    settings, url = found["settings"], "https://desk.example/slack/events"
    assert not settings["socket_mode_enabled"] and settings["org_deploy_enabled"]
    assert settings["interactivity"]["request_url"] == settings["event_subscriptions"]["request_url"] == url
    assert {command["url"] for command in found["features"]["slash_commands"]} == {url}
    assert found["oauth_config"]["redirect_urls"] == ["https://desk.example/slack/oauth_redirect"]
    assert "app_uninstalled" in settings["event_subscriptions"]["bot_events"]


def test_names_that_slack_has_itself_get_a_prefix(settings):
    names = [slash_name(name) for name in ("help", "status", "stars", "helpful", "forget-me", "x" * 40)]
    assert names[:5] == ["/frontdesk-help", "/frontdesk-status", "/frontdesk-stars", "/helpful", "/forget-me"]
    assert len(names[5]) == 32
    shipped = [slash_name(name) for name in load_plugins(settings).commands]
    assert "/frontdesk-help" in shipped and len(set(shipped)) == len(shipped)
