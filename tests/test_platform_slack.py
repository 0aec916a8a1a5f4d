"""Slack as its users see it: our real adapter, slack-bolt unmodified, a local server for Slack."""

import contextlib
import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from running import background, working
from scripted import AskingBack
from slack_server import SlackServer

from bots.adapter import MAX_ATTACHMENT_BYTES
from bots.errors import FileRefused, PlatformBusy, PlatformRefused, WrongToken
from bots.message import Attachment, Author, ConversationKey, Message
from bots.platforms.slack import SlackReceiver, SlackSender, escape, plain_text

PAGES = ["text/plain", "text/html", "application/json"]
RETURNS = "How long do I have to return something?"


@pytest.fixture
async def server():
    async with SlackServer(ack_timeout=1.0) as server:
        yield server


def new_receiver(server, receive, auto_channels=(), *, bot=None, app=None, url=None, known=()):
    async def knows(conversation):
        return str(conversation) in known

    tokens = bot or server.bot_token, app or server.app_token
    return SlackReceiver(*tokens, url or server.api_url, receive, auto_channels, knows=knows)


@contextlib.asynccontextmanager
async def receiving(server, store, auto_channels=(), receive=None):
    async def knows(conversation):
        return bool(await store.history.recent(conversation))

    receiver = SlackReceiver(
        server.bot_token,
        server.app_token,
        server.api_url,
        receive or store.intake.receive,
        auto_channels,
        knows=knows,
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


def question(server, thread="1.1"):
    conversation = ConversationKey("slack", server.team_id, server.channel_id, thread)
    name = f"slack:{server.team_id}:{server.channel_id}:{thread}"
    return Message(name, conversation, Author(server.user_id), "a question", is_private=False)


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
    with pytest.raises(WrongToken, match="FRONTDESK_SLACK_BOT_TOKEN"):
        await new_receiver(server, store.intake.receive, bot="xoxb-wrong").run_forever()
    with pytest.raises(WrongToken, match="connections:write"):
        await new_receiver(server, store.intake.receive, app="xapp-wrong").run_forever()
    with pytest.raises(PlatformBusy, match="cannot be reached"):
        await new_receiver(server, store.intake.receive, url="http://127.0.0.1:1/api/").run_forever()


@pytest.mark.parametrize("method", ["auth.test", "apps.connections.open"])
async def test_only_a_refused_token_counts_as_wrong_at_the_start(server, method):
    receiver = new_receiver(server, None)
    for reason in ("account_inactive", "token_revoked", "not_allowed_token_type"):
        server.fail_next(method, reason)
        with pytest.raises(WrongToken, match=reason):
            await receiver._check_tokens()
    server.fail_next(method, "missing_scope")
    with pytest.raises(WrongToken, match="missing_scope: chat:write"):
        await receiver._check_tokens()
    pages = [{"status": status, "content_type": kind} for status in (200, 502) for kind in PAGES]
    for fault in ({"error": "internal_error"}, {"error": "team_access_not_granted"}, *pages):
        server.fail_next(method, **fault)
        with pytest.raises(PlatformBusy):
            await receiver._check_tokens()
    server.fail_next(method, "ratelimited", headers={"Retry-After": "0"}, times=3)
    with pytest.raises(PlatformBusy, match="ratelimited"):
        await receiver._check_tokens()


async def test_a_proxys_page_in_place_of_slacks_answer_means_later(server):
    sender = SlackSender(server.bot_token, server.api_url)
    await sender.open()
    for status in (200, 403, 502):
        for kind in PAGES:
            server.fail_next("chat.postMessage", status=status, content_type=kind)
            with pytest.raises(PlatformBusy):
                await sender.post(question(server), "hello", nonce="n", is_retry=False)
    server.fail_next("chat.postMessage", status=503, headers={"Retry-After": "Mon, 23 Nov 2026 14:00:00 GMT"})
    with pytest.raises(PlatformBusy, match="503"):
        await sender.post(question(server), "hello", nonce="n", is_retry=False)
    server.fail_next("chat.postMessage", "channel_not_found")
    with pytest.raises(PlatformRefused, match="channel_not_found"):
        await sender.post(question(server), "hello", nonce="n", is_retry=False)


async def test_a_sender_that_could_not_open_does_so_with_its_first_post(server):
    sender = SlackSender(server.bot_token, server.api_url)
    server.fail_next("auth.test", "internal_error", times=2)
    with pytest.raises(PlatformBusy):
        await sender.open()
    with pytest.raises(PlatformBusy):
        await sender.post(question(server), "hello", nonce="n", is_retry=False)
    ref = await sender.post(question(server), "hello", nonce="n", is_retry=False)
    await sender.edit(question(server), ref, "hello again")
    assert [post["text"] for post in server.messages[server.channel_id]] == ["hello again"]
    assert len([call for call in server.calls if call.method == "auth.test"]) == 3

    revoked = SlackSender("xoxb-wrong", server.api_url)
    with pytest.raises(PlatformBusy, match="invalid_auth"):  # what is to be said must not be lost
        await revoked.edit(question(server), ref, "hello")


async def test_a_thread_goes_on_without_a_mention_where_the_bot_has_answered(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        channel = server.channel_id
        first = await server.say(channel, RETURNS, mention=True)
        await answer_in(server, channel)
        second = await server.say(channel, RETURNS, user="UBEN", mention=True)
        await answer_in(server, channel, count=2)
        other = await server.say(channel, "Who has the key of the store room?", user="UCLEO")
        await server.say(channel, "How do I reset my password?", user="UANNA", thread_ts=other["ts"])
        await server.say(channel, "How do I reset my password?", user="UBEN", thread_ts=second["ts"])
        third = await answer_in(server, channel, count=3)
        await server.say(channel, "How do I reset my password?", thread_ts=first["ts"])
        fourth = await answer_in(server, channel, count=4)
    assert [third["thread_ts"], fourth["thread_ts"]] == [second["ts"], first["ts"]]
    assert not server.replies(channel, other["ts"])[1:]
    assert not server.lost
    for author, root in (("UANNA", first), ("UBEN", second)):
        turns = await store.history.recent(ConversationKey("slack", server.team_id, channel, root["ts"]))
        assert [turn.author.id for turn in turns] == [author] * 4


async def attachments_of(server, *files):
    """What becomes of files that somebody adds, by Slack's own description: their content, or why not."""
    received = []

    async def receive(message, also):
        received.append(message)

    body = {"team_id": server.team_id}
    event = {"type": "message", "user": "UANNA", "channel": server.dm_channel_id, "ts": "1.1", "files": files}
    await new_receiver(server, receive)._on_message({**event, "channel_type": "im"}, body)
    sender = SlackSender(server.bot_token, server.api_url)
    return [await fetched(sender, received[0], file) for file in received[0].attachments]


async def fetched(sender, message, file):
    if file.problem:
        return file.problem
    try:
        return await sender.fetch(message, file)
    except FileRefused as error:
        return error.key


async def test_the_token_goes_to_slack_alone(server):
    """Slack gives a remote file's own address, which anybody may choose, as `url_private`."""
    asked = []

    async def record(request):
        asked.append(dict(request.headers))
        return web.Response(text="gotcha")

    elsewhere = web.Application()
    elsewhere.router.add_get("/{tail:.*}", record)
    async with TestServer(elsewhere) as other:
        url = str(other.make_url("/notes.txt"))
        own = server._add_file("UANNA", "notes.txt", b"The oven is broken.")
        found = await attachments_of(
            server,
            {"name": "a.txt", "mode": "external", "is_external": True, "url_private": url},
            {"name": "b.txt", "mode": "external", "url_private": own["url_private"]},
            {"name": "c.txt", "is_external": True, "url_private": own["url_private"]},
            {"name": "d.txt", "mode": "hosted", "url_private": url},
            {"name": "e.txt", "url_private": "http://[broken"},
            {"name": "f.txt"},
            own,
        )
    assert not asked
    assert found == [*["not_uploaded"] * 4, "not_fetched", "not_fetched", b"The oven is broken."]


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://files.slack.com/files-pri/T1-F1/a.txt", True),
        ("https://slack.com/a.txt", True),
        ("http://files.slack.com/a.txt", False),
        ("https://evilslack.com/a.txt", False),
        ("https://slack.com.evil.example/a.txt", False),
        ("https://slack.com@evil.example/a.txt", False),
        ("https://speaks.example:8443/a.txt", True),
        ("https://speaks.example/a.txt", False),
        ("http://speaks.example:8443/a.txt", False),
    ],
)
async def test_addresses_that_get_the_token(server, monkeypatch, url, may):
    asked = []

    async def download(self, url):
        asked.append(url)
        return b"text"

    monkeypatch.setattr(SlackSender, "_download", download)
    sender = SlackSender(server.bot_token, "https://speaks.example:8443/api/")
    found = await fetched(sender, question(server), Attachment("a.txt", url=url))
    assert found == (b"text" if may else "not_uploaded")
    assert bool(asked) == may


async def test_a_long_file_is_read_to_its_end_and_a_longer_one_as_far_as_that_shows(server):
    text = b"All of it. " * 90_000
    [found] = await attachments_of(server, server._add_file("UANNA", "long.txt", text))
    assert found == text
    longer = server._add_file("UANNA", "longer.txt", b"x" * (MAX_ATTACHMENT_BYTES * 2)) | {"size": None}
    [found] = await attachments_of(server, longer)
    assert MAX_ATTACHMENT_BYTES < len(found) < MAX_ATTACHMENT_BYTES * 2


async def test_an_event_is_acknowledged_before_its_file_is_fetched(server):
    """Slack waits three seconds: a file of megabytes may take longer."""
    stored = []

    async def receive(message, also):
        stored.append(message)

    file = {"name": "a.txt", "url_private": f"{server.api_url}never-asked", "size": 9_000_000}
    event = {"channel": "D1", "user": "U1", "ts": "1.1", "files": [file]}
    await new_receiver(server, receive)._accept(event, {"team_id": "T"})
    assert stored[0].attachments == (Attachment("a.txt", url=file["url_private"], size=9_000_000),)


async def test_code_that_grows_by_escaping_is_shown_whole(server):
    code = ("if (a < b && c > d) return;\n" * 200)[:3000]
    markup = ("<div><b>&nbsp;</b></div>\n" * 200)[:3000]
    sender = SlackSender(server.bot_token, server.api_url)
    for text in (code, markup):
        ref = await sender.post(question(server), text, nonce="n", is_retry=False)
        await sender.edit(question(server), ref, text + "!")
        assert decoded(server.messages[server.channel_id][-1]["text"]) == text + "!"


CONTROLS = [
    "<",
    ">",
    "&",
    "<@U1>",
    "<!channel>",
    "<!here|x>",
    "<#C1>",
    "&lt;",
    "&lt;!channel&gt;",
    "<https://a|b>",
]
PIECES = st.sampled_from(
    [*CONTROLS, "&amp;", "lt;", "!", "@", " ", "\n", "a", "<div>", "x" * 50, "if (a < b) &&"]
)


@given(st.lists(PIECES, max_size=40), st.integers(1, 400))
def test_no_reply_is_too_long_or_calls_anybody(pieces, times):
    text = ("".join(pieces) * times)[: SlackSender.limit]
    escaped = escape(text)
    assert len(escaped) < 4000
    assert not re.search(r"<\s*[@#!]", escaped)
    assert not re.search(r"<[^<>]*[:|][^<>]*>", escaped)
    if not escaped.endswith("…"):
        assert decoded(escaped) == text


def decoded(text):
    """Slack's own way back."""
    return re.sub("&(lt|gt|amp);", lambda found: {"lt": "<", "gt": ">", "amp": "&"}[found[1]], text)


def test_what_grows_beyond_all_room_is_cut_and_not_lost():
    for text in ("<!here>" * 428, "&lt;" * 750, "<@U1>" * 600):
        escaped = escape(text)
        assert 3890 < len(escaped) <= 3900
        assert "<" not in escaped
    assert escaped.endswith("&lt;@U1>…")


def test_mentions_of_the_bot_are_taken_out_and_nothing_else():
    assert plain_text("<@B1> refund order 55 <@B1> today please", "B1") == "refund order 55 today please"
    assert plain_text("<@B1|frontdesk>: hello <@B12>\n    indented", "B1") == ": hello @B12\n    indented"


@pytest.mark.parametrize(
    ("wrapped", "typed"),
    [
        ("ask <#C123|help-desk> or <#C123>", "ask #help-desk or #C123"),
        ("<#C123|>", "#C123"),
        ("<@U123> and <@U456|anna>", "@U123 and @anna"),
        ("<!here> <!channel|channel> <!everyone>", "@here @channel @everyone"),
        ("<!subteam^S1|@staff> <!subteam^S1>", "@staff @S1"),
        ("<!date^1392734382^{date}|18 February>", "18 February"),
        ("&lt;!here&gt; 1 < 2", "<!here> 1 < 2"),
        ("a<b>c <>", "abc <>"),
    ],
)
def test_names_and_calls_stay_readable(wrapped, typed):
    assert plain_text(wrapped, "B1") == typed


def test_what_slack_wraps_is_unwrapped():
    wrapped = "<@B1> mail <mailto:a@b.example|a@b.example> or <tel:+15550100|+1 555 0100> &lt;now&gt; <https://x.example>"
    assert plain_text(wrapped, "B1") == "mail a@b.example or +1 555 0100 <now> https://x.example"


def test_no_text_of_ours_becomes_a_mention():
    assert escape("<!channel> & <@U1>") == "&lt;!channel&gt; &amp; &lt;@U1&gt;"


async def test_a_token_revoked_while_running_loses_no_answer(server, store, sample_service, monkeypatch):
    monkeypatch.setattr("bots.login.WRONG_TOKEN_SECONDS", 0.2)
    async with frontdesk(server, store, sample_service):
        server.fail_next("chat.postMessage", "token_revoked", times=2)
        await server.say(server.dm_channel_id, RETURNS)
        await answer_in(server, server.dm_channel_id)


async def test_a_question_back_has_buttons_that_ask_what_they_say(server, store):
    async with frontdesk(server, store, AskingBack()):
        asked = await server.say(server.channel_id, "return?", mention=True)
        await server.wait_for(lambda: any(m.get("blocks") for m in server.messages[server.channel_id]))
        (post,) = [m for m in server.messages[server.channel_id] if m.get("blocks")]
        _, actions = post["blocks"]
        assert [button["text"]["text"] for button in actions["elements"]] == [
            *AskingBack.options,
            "None of these",
        ]
        button = actions["elements"][1]
        action = {
            "type": "button",
            "action_id": button["action_id"],
            "value": button["value"],
            "action_ts": "1700000000.000100",
        }
        assert await server.interact({"actions": [action], "message": post}) is not None
        answer = await answer_in(server, server.channel_id)
    assert answer["text"] == "You asked a colleague: How do I return a gift?"
    assert answer["thread_ts"] == asked["ts"]
