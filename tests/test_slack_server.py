"""The local Slack, checked with an unmodified slack-bolt app; and facts of Bolt that frontdesk builds on."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_server import SlackServer

MARKDOWN_CONFLICT = "markdown_text_conflict"


@pytest.fixture
async def slack():
    async with SlackServer(ack_timeout=0.3, retry_gaps=(0.01, 0.02, 0.03)) as server:
        yield server


@pytest.fixture
def client(slack):
    return AsyncWebClient(slack.bot_token, base_url=slack.api_url, retry_handlers=[])


@pytest.fixture
def app(slack, client):
    return AsyncApp(client=client, signing_secret=slack.signing_secret)


@asynccontextmanager
async def running(app, slack, ping_interval=0.2):
    handler = AsyncSocketModeHandler(app, slack.app_token, ping_interval=ping_interval)
    await handler.connect_async()
    try:
        yield handler
    finally:
        await handler.close_async()


def texts(slack, channel):
    return [message["text"] for message in slack.messages[channel]]


async def test_a_mention_is_answered_in_its_thread(slack, app):
    @app.event("app_mention")
    async def answer(event, say):
        await say(f"You said: {event['text']}", thread_ts=event["ts"])

    @app.event("message")
    async def ignore(event):
        pass

    async with running(app, slack):
        question = await slack.say(slack.channel_id, "hello", mention=True)
        await slack.wait_for(lambda: len(slack.messages[slack.channel_id]) == 2)
        assert slack.messages[slack.channel_id][1]["thread_ts"] == question["ts"]
        assert slack.messages[slack.channel_id][1]["text"] == f"You said: <@{slack.bot_user_id}> hello"
        await slack.wait_for(lambda: len(slack.acks) == 3)
    kinds = [envelope["payload"]["event"]["type"] for envelope in slack.envelopes]
    assert sorted(kinds) == ["app_mention", "message", "message"]  # the third is the answer itself
    assert {envelope["retry_attempt"] for envelope in slack.envelopes} == {0}


async def test_subscriptions_choose_the_events(slack, app):
    slack.subscriptions, slack.echo = {"app_mention"}, False

    @app.event("app_mention")
    async def answer(say):
        await say("here")

    async with running(app, slack):
        await slack.say(slack.channel_id, "no mention")
        await slack.say(slack.channel_id, "hello", mention=True)
        await slack.wait_for(lambda: "here" in texts(slack, slack.channel_id))
    assert [envelope["payload"]["event"]["type"] for envelope in slack.envelopes] == ["app_mention"]


async def test_a_direct_message_with_a_file(slack, app):
    @app.event("message")
    async def answer(event, say):
        url, headers = event["files"][0]["url_private"], {"Authorization": f"Bearer {slack.bot_token}"}
        async with aiohttp.ClientSession() as http:
            stranger = await (await http.get(url)).text()
            content = await (await http.get(url, headers=headers)).text()
        await say(f"{event['channel_type']}: {content}; without the token: {stranger[:15]}")

    async with running(app, slack):
        await slack.say(slack.dm_channel_id, "see file", mention=True, files=[("note.txt", b"the note")])
        await slack.wait_for(lambda: len(slack.messages[slack.dm_channel_id]) == 2)
    assert texts(slack, slack.dm_channel_id)[1] == "im: the note; without the token: <!DOCTYPE html>"
    assert all(envelope["payload"]["event"]["type"] == "message" for envelope in slack.envelopes)


async def test_an_unacknowledged_event_is_retried_with_the_same_id(slack, app):
    body = await slack.event({"type": "app_home_opened", "user": slack.user_id, "tab": "messages"})
    async with running(app, slack):  # no listener: Bolt answers 404 and does not acknowledge
        await slack.wait_for(lambda: slack.lost)
    assert slack.lost == [body] and not slack.acks
    assert {envelope["payload"]["event_id"] for envelope in slack.envelopes} == {body["event_id"]}
    assert len({envelope["envelope_id"] for envelope in slack.envelopes}) == 4
    attempts = [(envelope["retry_attempt"], envelope["retry_reason"]) for envelope in slack.envelopes]
    assert attempts == [(0, ""), (1, "timeout"), (2, "timeout"), (3, "timeout")]


async def test_an_acknowledged_event_can_be_redelivered(slack, app):
    seen = []

    @app.event("app_home_opened")
    async def note(body, request):
        seen.append((body["event_id"], request.headers["x-slack-retry-num"]))

    async with running(app, slack):
        body = await slack.event({"type": "app_home_opened", "user": slack.user_id, "tab": "messages"})
        await slack.wait_for(lambda: slack.is_acked(body["event_id"]))
        assert await slack.redeliver(slack.envelopes[0])
        await slack.wait_for(lambda: len(seen) == 2)
    assert seen == [(body["event_id"], ["0"]), (body["event_id"], ["1"])]


async def test_a_wrong_app_token_is_refused(slack, app):
    handler = AsyncSocketModeHandler(app, "xapp-wrong", ping_interval=0.05)
    connecting = asyncio.create_task(handler.connect_async())  # the SDK keeps trying
    await slack.wait_for(lambda: ("apps.connections.open", "invalid_auth") in slack.errors)
    await handler.close_async()
    await connecting
    assert not slack.sockets


@pytest.mark.parametrize("how", ["close", "abort", "refresh"])
async def test_the_app_comes_back_after_a_dropped_connection(slack, app, how):
    slack.ack_timeout = 3

    @app.event("message")
    async def answer(say):
        await say("still here")

    async with running(app, slack):
        await slack.wait_for(lambda: slack.sockets)
        await slack.drop_connections(how)
        await slack.say(slack.dm_channel_id, "hello?")
        await slack.wait_for(lambda: "still here" in texts(slack, slack.dm_channel_id))


async def test_each_envelope_goes_to_one_of_the_sockets(slack, app, client):
    seen = []

    def record(who, some_app):
        @some_app.event("message")
        async def note(event):
            seen.append((who, event["text"]))

    second = AsyncApp(client=client, signing_secret=slack.signing_secret)
    record("first", app)
    record("second", second)
    async with running(app, slack), running(second, slack):
        await slack.wait_for(lambda: len(slack.sockets) == 2)
        for number in range(4):
            await slack.say(slack.dm_channel_id, str(number))
        await slack.wait_for(lambda: len(seen) == 4)
    assert sorted(text for _, text in seen) == ["0", "1", "2", "3"]
    assert {who for who, _ in seen} == {"first", "second"}


async def test_edits_show_and_only_on_own_messages(slack, client):
    sent = await client.chat_postMessage(channel=slack.channel_id, text="one", blocks=[{"type": "divider"}])
    await client.chat_update(channel=slack.channel_id, ts=sent["ts"], text="two")
    assert texts(slack, slack.channel_id) == ["two"] and "blocks" not in slack.messages[slack.channel_id][0]
    question = await slack.say(slack.channel_id, "mine")
    for ts, text, error in [
        (question["ts"], "x", "cant_update_message"),
        ("1.000001", "x", "message_not_found"),
        (sent["ts"], "x" * 4001, "msg_too_long"),
        (sent["ts"], "", "no_text"),
    ]:
        with pytest.raises(SlackApiError, match=error):
            await client.api_call("chat.update", json={"channel": slack.channel_id, "ts": ts, "text": text})
    await client.chat_delete(channel=slack.channel_id, ts=sent["ts"])
    assert texts(slack, slack.channel_id) == ["mine"]


async def test_bolt_gets_and_hides_the_bots_own_messages_edits_and_deletions(slack, app, client):
    seen = []

    @app.event("message")
    async def note(event):
        seen.append(event)

    async with running(app, slack):
        metadata = {"event_type": "turn", "event_payload": {}}
        sent = await client.chat_postMessage(channel=slack.channel_id, text="one", metadata=metadata)
        await client.chat_update(channel=slack.channel_id, ts=sent["ts"], text="two")
        assert slack.messages[slack.channel_id][0]["metadata"] == metadata
        await client.chat_delete(channel=slack.channel_id, ts=sent["ts"])
        await slack.say(slack.channel_id, "from a person")
        await slack.wait_for(lambda: len(slack.acks) == 4 and seen)
    subtypes = [envelope["payload"]["event"].get("subtype") for envelope in slack.envelopes]
    assert subtypes == [None, "message_changed", "message_deleted", None]
    assert [event["text"] for event in seen] == ["from a person"]
    assert "event_payload" not in str(slack.envelopes)


async def test_metadata_is_returned_only_on_request(slack, client):
    metadata = {"event_type": "turn", "event_payload": {"id": "7"}}
    root = await slack.say(slack.channel_id, "question")
    thread = {"channel": slack.channel_id, "ts": root["ts"]}
    await client.chat_postMessage(channel=slack.channel_id, text="a", thread_ts=root["ts"], metadata=metadata)
    plain = await client.conversations_replies(**thread)
    assert [message["text"] for message in plain["messages"]] == ["question", "a"]
    assert plain["messages"][0]["reply_count"] == 1
    assert "metadata" not in plain["messages"][1]
    full = await client.conversations_replies(**thread, include_all_metadata=True)
    assert full["messages"][1]["metadata"] == metadata
    history = await client.conversations_history(channel=slack.channel_id, include_all_metadata=True)
    assert [message["text"] for message in history["messages"]] == ["question"]
    page = await client.conversations_replies(**thread, limit=1)
    assert page["has_more"] and page["messages"][0]["text"] == "question"
    rest = await client.conversations_replies(**thread, cursor=page["response_metadata"]["next_cursor"])
    assert [message["text"] for message in rest["messages"]] == ["a"]


async def test_the_web_api_answers_as_slack_does(slack, client):
    assert (await client.auth_test())["user_id"] == slack.bot_user_id
    assert (await client.conversations_open(users=slack.user_id))["channel"]["id"] == slack.dm_channel_id
    assert (await client.conversations_info(channel=slack.dm_channel_id))["channel"]["is_im"]
    assert (await client.users_info(user=slack.user_id))["user"]["real_name"] == "Anna"
    form = {"channel": slack.channel_id, "blocks": '[{"type": "divider"}]', "text": "as a form"}
    message = (await client.api_call("chat.postMessage", data=form))["message"]
    assert message["blocks"] == [{"type": "divider"}]
    await client.reactions_add(channel=slack.channel_id, timestamp=message["ts"], name="eyes")
    await client.assistant_threads_setStatus(
        channel_id=slack.channel_id, thread_ts=message["ts"], status="is thinking"
    )
    long = await client.chat_postMessage(channel=slack.channel_id, text="x" * 40_001)
    assert len(long["message"]["text"]) == 40_000 and long["warning"] == "message_truncated"
    marked = await client.chat_postMessage(channel=slack.user_id, markdown_text="**bold**")
    assert marked["channel"] == slack.dm_channel_id and texts(slack, slack.dm_channel_id) == ["**bold**"]
    assert slack.calls[-1] == ("chat.postMessage", {"channel": slack.user_id, "markdown_text": "**bold**"})


@pytest.mark.parametrize(
    ("method", "args", "error"),
    [
        ("chat.postMessage", {"channel": "C100"}, "no_text"),
        ("chat.postMessage", {"channel": "C404", "text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"channel": "C100", "text": "x", "markdown_text": "y"}, MARKDOWN_CONFLICT),
        ("chat.postMessage", {"channel": "C100", "markdown_text": "x" * 12_001}, "msg_too_long"),
        ("chat.postMessage", {"channel": "C100", "text": "x", "token": "xoxb-wrong"}, "invalid_auth"),
        ("apps.connections.open", {}, "not_allowed_token_type"),
        ("conversations.replies", {"channel": "C100", "ts": "1.1"}, "thread_not_found"),
        ("chat.postNothing", {}, "unknown_method"),
    ],
)
async def test_errors_have_slacks_names(slack, client, method, args, error):
    with pytest.raises(SlackApiError) as caught:
        await client.api_call(method, json=args)
    assert caught.value.response["error"] == error and caught.value.response.status_code == 200
    assert slack.errors == [(method, error)]


async def test_faults_can_be_ordered(slack, client):
    post = {"channel": slack.channel_id, "text": "x"}
    slack.fail_next("chat.postMessage", "ratelimited", headers={"Retry-After": "7"})
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(**post)
    assert caught.value.response.status_code == 429 and caught.value.response.headers["Retry-After"] == "7"
    slack.fail_next("chat.postMessage")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.chat_postMessage(**post)
    assert texts(slack, slack.channel_id) == []
    slack.fail_next("chat.postMessage", after=True)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.chat_postMessage(**post)
    assert texts(slack, slack.channel_id) == ["x"]
    await client.chat_postMessage(**post)
    assert len(slack.calls) == 4


async def test_the_sdk_posts_twice_when_an_answer_is_lost(slack):
    """The default retry handlers repeat chat.postMessage after a dropped connection: turn them off."""
    client = AsyncWebClient(slack.bot_token, base_url=slack.api_url)
    slack.fail_next("chat.postMessage", after=True)
    await client.chat_postMessage(channel=slack.channel_id, text="x")
    assert texts(slack, slack.channel_id) == ["x", "x"]


async def test_a_slash_command_is_acknowledged_with_text_and_answered_later(slack, app):
    @app.command("/ask")
    async def ask(ack, command, respond):
        await ack(f"looking for {command['text']}")
        await respond("found", response_type="in_channel")

    async with running(app, slack):
        ack = await slack.slash("/ask", "opening hours", slack.channel_id)
        await slack.wait_for(lambda: texts(slack, slack.channel_id) == ["found"])
    assert ack["payload"]["text"] == slack.ephemeral[0]["text"] == "looking for opening hours"


async def test_a_button_is_an_interactive_envelope(slack, app):
    pressed = []

    @app.action("feedback")
    async def feedback(ack, action):
        await ack()
        pressed.append(action["value"])

    async with running(app, slack):
        button = {"type": "button", "action_id": "feedback", "block_id": "b", "value": "good"}
        assert await slack.interact({"actions": [button]})
    assert pressed == ["good"]


async def test_signed_requests_for_http_mode(slack, app):
    seen = []

    @app.event("app_mention")
    async def note(body):
        seen.append(body["event_id"])

    event = {"type": "app_mention", "user": slack.user_id, "ts": "1.1", "channel": slack.channel_id}
    async with TestServer(app.web_app()) as http:
        url = str(http.make_url("/slack/events"))
        assert (await slack.post_event(url, event, retry=1)).status == 200
        assert (await slack.post_event(url, event, secret="wrong")).status == 401
        assert (await slack.post_event(url, event, timestamp=1)).status == 401
        challenge = await slack.post_event(url, {"type": "url_verification", "challenge": "abc"})
        assert challenge.status == 200 and "abc" in challenge.text
        await slack.wait_for(lambda: len(seen) == 1)


@pytest.fixture
def late_app(slack, client):
    """An app that acknowledges only after its listener."""
    return AsyncApp(client=client, signing_secret=slack.signing_secret, process_before_response=True)


async def test_process_before_response_acknowledges_after_the_listener(slack, late_app):
    stored = asyncio.Event()

    @late_app.event("app_home_opened")
    async def store():
        await stored.wait()

    async with running(late_app, slack):
        body = await slack.event({"type": "app_home_opened", "user": slack.user_id})
        await slack.wait_for(lambda: slack.envelopes)
        await asyncio.sleep(0.1)
        assert not slack.acks
        stored.set()
        await slack.wait_for(lambda: slack.is_acked(body["event_id"]))


async def test_process_before_response_does_not_acknowledge_a_failed_listener(slack, late_app):
    failures = [OSError("storage is down")] * 2

    @late_app.event("app_home_opened")
    async def store(ack):
        await ack()
        if failures:
            raise failures.pop()

    async with running(late_app, slack):
        body = await slack.event({"type": "app_home_opened", "user": slack.user_id})
        await slack.wait_for(lambda: slack.is_acked(body["event_id"]))
    assert [envelope["retry_attempt"] for envelope in slack.envelopes] == [0, 1, 2]
    assert len(slack.acks) == 1


async def test_a_middleware_can_hold_back_the_acknowledgement_too(slack, app):
    """Without process_before_response: middleware runs before the acknowledgement; its errors prevent it."""
    failures = [OSError("storage is down")]

    @app.middleware
    async def store(next):
        if failures:
            raise failures.pop()
        await next()

    @app.event("app_home_opened")
    async def nothing():
        pass

    async with running(app, slack):
        body = await slack.event({"type": "app_home_opened", "user": slack.user_id})
        await slack.wait_for(lambda: slack.is_acked(body["event_id"]))
    assert [envelope["retry_attempt"] for envelope in slack.envelopes] == [0, 1]


async def test_a_form_is_opened_once_by_a_trigger_and_sent_with_what_was_filled_in(slack, app):
    sent = []

    @app.command("/form")
    async def show(ack, body, client):
        await ack()
        number = {"type": "number_input", "action_id": "a", "is_decimal_allowed": False}
        field = {"type": "input", "block_id": "age", "label": plain("Age"), "element": number}
        view = {"type": "modal", "callback_id": "form", "title": plain("Form"), "submit": plain("Send")}
        view = {**view, "blocks": [field]}
        await client.views_open(trigger_id=body["trigger_id"], view=view)
        for problem, changes in {
            "exchanged_trigger_id": {},
            "invalid_trigger": {"trigger_id": "old"},
            "invalid_arguments": {"trigger_id": "trigger.new", "view": {**view, "title": plain("x" * 25)}},
        }.items():
            with pytest.raises(SlackApiError, match=problem):
                await client.views_open(**{"trigger_id": body["trigger_id"], "view": view, **changes})

    @app.view("form")
    async def take(ack, view):
        await ack()
        sent.append(view["state"]["values"]["age"]["a"]["value"])

    async with running(app, slack):
        await slack.slash("/form", "", slack.channel_id)
        (view,) = await slack.wait_for(lambda: list(slack.views.values()))
        await slack.wait_for(lambda: len(slack.errors) == 3)
        assert await slack.submit(view, {"age": "7"})
        with pytest.raises(AssertionError, match="age is empty"):
            await slack.submit(view, {})
    assert sent == ["7"]


def plain(text):
    return {"type": "plain_text", "text": text}


async def test_edits_and_deletions_by_people_are_events(slack, app):
    seen = []

    @app.event("message")
    async def note(event):
        seen.append((event.get("subtype"), event.get("message", {}).get("subtype")))

    @app.event("app_mention")
    async def ignore():
        pass

    async with running(app, slack):
        first = await slack.say(slack.channel_id, "one", mention=True)
        second = await slack.say(slack.channel_id, "two", thread_ts=first["ts"])
        slack.rewrite(slack.channel_id, second["ts"], "three")
        slack.remove(slack.channel_id, first["ts"])  # it has a reply
        slack.remove(slack.channel_id, second["ts"])
        await slack.delivered()
    assert Counter(seen) == Counter(
        [
            ("message_changed", None),
            ("message_changed", "tombstone"),
            ("message_deleted", None),
            (None, None),
            (None, None),
        ]
    )


async def test_a_silent_socket_answers_pings_and_sends_nothing(slack, app):
    slack.ping_gap = 0.05

    @app.event("message")
    async def note():
        pass

    async with running(app, slack) as handler:
        (socket,) = await slack.wait_for(lambda: list(slack.sockets))
        slack.silent.add(socket)
        before = handler.client.last_ping_pong_time
        await slack.say(slack.dm_channel_id, "hello?")
        await slack.wait_for(lambda: handler.client.last_ping_pong_time != before)
        await slack.delivered()
        assert await handler.client.is_connected()
    assert len(slack.lost) == 1


async def test_an_installation_gives_a_token_of_its_own(slack, client):
    url = f"https://slack.com/oauth/v2/authorize?client_id={slack.client_id}&scope=a&state=s&redirect_uri=https://x"
    code = slack.approve(url, team="T200").partition("code=")[2].partition("&")[0]
    secret = {"client_id": slack.client_id, "client_secret": slack.client_secret}
    about = {"code": code, "redirect_uri": "https://x"}
    with pytest.warns(DeprecationWarning, match="BasicAuth"):
        with pytest.raises(SlackApiError, match="bad_client_secret"):
            await client.oauth_v2_access(**about, **{**secret, "client_secret": "no"})
        found = await client.oauth_v2_access(**about, **secret)
        with pytest.raises(SlackApiError, match="invalid_code"):
            await client.oauth_v2_access(**about, **secret)
    assert (await client.auth_test(token=found["access_token"]))["team_id"] == "T200"
