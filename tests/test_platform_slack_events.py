"""What reaches the intake of what people do in Slack: slack-bolt unmodified, a local server for Slack."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from running import background
from slack_receiver import Recorder, receiver_for, receiving
from slack_server import SlackServer

from bots.errors import PlatformBusy, WrongToken
from bots.message import Attachment, Author, ConversationKey

PAGES = ["text/plain", "text/html", "application/json"]


@pytest.fixture
async def server():
    async with SlackServer(ack_timeout=1.0) as server:
        yield server


@pytest.fixture
def intake():
    return Recorder()


def thread(server, channel, ts):
    return ConversationKey("slack", server.team_id, channel, ts)


def question_id(server, message, channel=None):
    return f"slack:{server.team_id}:{channel or server.channel_id}:{message['ts']}"


async def settled(server):
    """Every event so far is acknowledged."""
    await server.delivered()
    assert not server.lost


async def test_a_mention_comes_as_two_events_and_is_one_message(server, store, intake):
    async with receiving(server, store, intake):
        asked = await server.say(server.channel_id, "how do I <https://x.example|return> it?", mention=True)
        await server.wait_for(lambda: len(server.acks) == 2)
    (message,) = intake.messages
    assert message.id == question_id(server, asked)
    assert message.conversation == thread(server, server.channel_id, asked["ts"])
    assert (message.text, message.author) == ("how do I return it?", Author(server.user_id))
    assert message.is_direct and not message.is_private and not message.address


async def test_one_gesture_under_two_names_is_one_message(server, store):
    """Slack was seen to send one gesture as two messages with times of their own (typeclaw pull 49)."""
    intake, event = Recorder(), {"type": "message", "channel": "D100", "channel_type": "im", "user": "UANNA"}
    async with receiving(server, store, intake):
        for ts in ("1.1", "1.2"):
            await server.event({**event, "text": "hello", "ts": ts, "client_msg_id": "c-1"})
        body = await server.event({**event, "text": "hello again", "ts": "1.3"})
        await settled(server)
        again = {**body, "event": {**body["event"], "ts": "1.4"}}
        assert await server._send(server._events_envelope(again, 1))
    assert intake.texts == ["hello", "hello again"]


async def test_both_events_of_a_mention_are_claimed_by_the_real_inbox(server, store):
    async with receiving(server, store):
        await server.say(server.channel_id, "hello?", mention=True)
        await server.wait_for(lambda: len(server.acks) == 2)
        for envelope in list(server.envelopes):
            for _ in range(2):
                assert await server.redeliver(envelope)
    assert await store.inbox.backlog() == 1


async def test_a_direct_message_begins_a_thread_of_its_own(server, store, intake):
    async with receiving(server, store, intake):
        first = await server.say(server.dm_channel_id, "one")
        second = await server.say(server.dm_channel_id, "two", thread_ts=first["ts"])
        third = await server.say(server.dm_channel_id, f"<@{server.bot_user_id}>")
        await settled(server)
    threads = [message.conversation.thread for message in intake.messages]
    assert threads == [first["ts"], first["ts"], third["ts"]]
    assert [message.id for message in intake.messages][1] == question_id(server, second, server.dm_channel_id)
    assert intake.texts == ["one", "two", ""]
    assert all(message.is_private and message.is_direct for message in intake.messages)


async def test_a_thread_goes_on_without_a_mention_where_the_bot_is_in_it(server, store, intake):
    channel = server.channel_id
    async with receiving(server, store, intake, auto_channels=("slack:C200",)):
        asked = await server.say(channel, "mine", mention=True)
        await settled(server)
        await server.say(channel, "and then?", user="UBEN", thread_ts=asked["ts"])
        others = await server.say(channel, "Who has the key?", user="UCLEO")
        await server.say(channel, "I do", user="UDORA", thread_ts=others["ts"])
        await server.say("C200", "in an automatic channel")
        own = server._add_bot_message(channel, {"text": "a notice"})
        await server.event(
            {
                **{"type": "message", "channel": channel, "channel_type": "channel", "user": "UBEN"},
                **{"text": "thanks", "ts": server.new_ts(), "thread_ts": own["ts"]},
                "parent_user_id": server.bot_user_id,
            }
        )
        await settled(server)
    found = {message.text: message.is_direct for message in intake.messages}
    assert found == {"mine": True, "and then?": False, "in an automatic channel": False, "thanks": False}


async def test_a_thread_that_the_history_has_goes_on(server, store, intake):
    async def knows(conversation):
        return conversation.thread == "1.5"

    receiver = receiver_for(server, store, intake)
    receiver._knows = knows
    async with background(receiver.run_forever()):
        for root in ("1.5", "1.6"):
            event = {"type": "message", "channel": "C100", "channel_type": "channel", "user": "UBEN"}
            await server.event({**event, "text": root, "ts": server.new_ts(), "thread_ts": root})
        await server.wait_for(lambda: len(server.acks) == 2)
    assert intake.texts == ["1.5"]


async def test_what_no_person_wrote_is_acknowledged_and_left_alone(server, store, intake):
    async with receiving(server, store, intake):
        for event in (
            {"bot_id": "B9", "user": "UBOT9", "text": f"<@{server.bot_user_id}> hi", "type": "app_mention"},
            {"bot_id": "B9", "text": "hi", "subtype": "bot_message"},
            {"bot_profile": {"id": "B9"}, "user": "UBOT9", "text": "hi"},
            {"user": server.user_id, "text": "joined", "subtype": "channel_join"},
            {"user": server.bot_user_id, "text": "my own"},
            {"text": "nobody's"},
        ):
            place = {"channel": server.dm_channel_id, "channel_type": "im", "ts": server.new_ts()}
            await server.event({"type": "message", **place, **event})
        server._add_bot_message(server.dm_channel_id, {"text": "an answer"})
        await server.say(server.channel_id, "not for the bot")
        await settled(server)
    assert len(server.acks) == 8
    assert not intake.messages


async def test_an_event_is_acknowledged_only_when_it_is_stored(server, store):
    """Redis is away at first: Slack delivers again with its retry headers, and it is taken then."""
    intake = Recorder(RedisConnectionError("away"), RedisConnectionError("away"))
    async with receiving(server, store, intake):
        await server.say(server.dm_channel_id, "are you there?")
        await server.wait_for(lambda: server.acks, timeout=10)
    assert intake.texts == ["are you there?"]
    assert [envelope["retry_attempt"] for envelope in server.envelopes] == [0, 1, 2]
    assert len(server.acks) == 1


async def test_a_retry_of_an_event_that_never_came_is_taken(server, store, intake):
    async with receiving(server, store, intake):
        event = {"type": "message", "channel": "D100", "channel_type": "im", "user": "UANNA", "ts": "1.1"}
        body = server._outer({**event, "text": "late"})
        assert await server._send(server._events_envelope(body, 3))
    assert intake.texts == ["late"]


async def test_an_edit_and_a_deletion_are_told_with_the_question_they_mean(server, store, intake):
    channel = server.channel_id
    async with receiving(server, store, intake):
        asked = await server.say(channel, "retrun", mention=True)
        second = await server.say(server.dm_channel_id, "mine")
        await settled(server)
        server.unfurl(channel, asked["ts"])
        server.rewrite(channel, asked["ts"], f"<@{server.bot_user_id}> return &amp; refund")
        server.remove(server.dm_channel_id, second["ts"])
        await settled(server)
    edit, deletion = sorted(intake.changes, key=lambda change: change.kind, reverse=True)
    assert (edit.kind, edit.text, edit.author_id) == ("edit", "return & refund", server.user_id)
    assert edit.message_id == question_id(server, asked)
    assert edit.conversation == thread(server, channel, asked["ts"])
    assert (deletion.kind, deletion.text) == ("delete", "")
    assert deletion.message_id == question_id(server, second, server.dm_channel_id)
    assert deletion.conversation == thread(server, server.dm_channel_id, second["ts"])


async def test_a_deleted_question_with_an_answer_below_leaves_a_tombstone_and_is_told(server, store, intake):
    async with receiving(server, store, intake):
        asked = await server.say(server.channel_id, "return?", mention=True)
        server._add_bot_message(server.channel_id, {"text": "30", "thread_ts": asked["ts"]})
        await settled(server)
        server.remove(server.channel_id, asked["ts"])
        await settled(server)
    (change,) = intake.changes
    assert (change.kind, change.message_id) == ("delete", question_id(server, asked))
    assert change.author_id == server.user_id


async def test_changes_of_what_was_not_for_the_bot_are_not_told(server, store, intake):
    channel = server.channel_id
    async with receiving(server, store, intake):
        other = await server.say(channel, "Who has the key?")
        server.rewrite(channel, other["ts"], "Who has the keys?")
        server.remove(channel, other["ts"])
        own = server._add_bot_message(server.dm_channel_id, {"text": "an answer"})
        server.remove(server.dm_channel_id, own["ts"])
        await settled(server)
    assert len(server.acks) == 5
    assert not intake.changes


async def test_the_native_stop_button_stops_the_sessions_conversation(server, store, intake):
    async with receiving(server, store, intake):
        body = await server.stop(server.dm_channel_id, "17.5")
        await server.wait_for(lambda: server.is_acked(body["event_id"]))
    (change,) = intake.changes
    assert (change.kind, change.message_id, change.author_id) == ("stop", "", server.user_id)
    assert change.conversation == thread(server, server.dm_channel_id, "17.5")


async def test_a_change_does_not_overtake_its_question(server, store):
    """The question waits for Redis; Bolt takes the edit meanwhile."""
    order, may_go_on = [], asyncio.Event()

    class Slow(Recorder):
        async def receive(self, message, also=()):
            await may_go_on.wait()
            order.append("question")
            return True

        async def change(self, change, event_id=""):
            order.append("edit")

    async with receiving(server, store, Slow()):
        asked = await server.say(server.dm_channel_id, "one")
        server.rewrite(server.dm_channel_id, asked["ts"], "two")
        await server.wait_for(lambda: len(server.envelopes) == 2)
        may_go_on.set()
        await settled(server)
    assert order == ["question", "edit"]


def post_in(server, channel, **more):
    return server._add_bot_message(channel, {"text": "an answer", **more})


async def test_an_option_is_asked_where_its_button_stands(server, store, intake):
    post = post_in(server, server.channel_id, thread_ts="9.5")
    action = {"type": "button", "action_id": "frontdesk_option_2", "value": "A gift?", "action_ts": "17.25"}
    async with receiving(server, store, intake):
        assert await server.interact({"actions": [action], "message": post})
    (message,) = intake.messages
    assert (message.text, message.author.id, message.is_direct) == ("A gift?", server.user_id, True)
    assert message.id == f"slack:{server.team_id}:{server.channel_id}:17.25"
    assert message.conversation == thread(server, server.channel_id, "9.5")


async def test_feedback_is_kept_and_thanked_for_in_the_persons_language(server, store, intake):
    server.locales[server.user_id] = "de-DE"
    post = post_in(server, server.dm_channel_id, thread_ts="9.5")
    kinds = {"type": "feedback_buttons", "action_id": "frontdesk_feedback", "action_ts": "17.25"}
    async with receiving(server, store, intake):
        for value in ("up:slack:T100:D100:9.5", "down:slack:T100:D100:9.5", "sideways:x", ""):
            body = {"actions": [{**kinds, "value": value}], "message": post}
            assert await server.interact(body, server.dm_channel_id)
        await server.wait_for(lambda: len(server.ephemeral) == 2)
    assert [(rating.message_id, rating.is_helpful) for rating in intake.ratings] == [
        ("slack:T100:D100:9.5", True),
        ("slack:T100:D100:9.5", False),
    ]
    assert intake.ratings[0].author_id == server.user_id
    assert {thanks["text"] for thanks in server.ephemeral} == {"Danke für die Rückmeldung!"}


async def test_a_rating_counts_though_nobody_can_be_thanked(server, store):
    server.fail_next("chat.postEphemeral", "user_not_in_channel")
    post = post_in(server, server.channel_id, thread_ts="9.5")
    action = {"type": "feedback_buttons", "action_id": "frontdesk_feedback", "action_ts": "17.25"}
    async with receiving(server, store):
        body = {"actions": [{**action, "value": "up:slack:T100:C100:9.5"}], "message": post}
        assert await server.interact(body)
        await server.wait_for(lambda: any(call.method == "chat.postEphemeral" for call in server.calls))
    assert (await store.feedback.tally()).helpful == 1


async def test_a_link_in_a_block_is_acknowledged(server, store, intake):
    action = {"type": "button", "action_id": "some_link", "url": "https://x.example", "action_ts": "17.25"}
    async with receiving(server, store, intake):
        assert await server.interact({"actions": [action], "message": post_in(server, server.channel_id)})
    assert not intake.messages


async def test_files_come_as_slack_describes_them(server, store, intake):
    """They are fetched by a worker: Slack waits three seconds, and a file of megabytes may take longer."""
    own = server._add_file("UANNA", "notes.txt", b"The oven is broken.")
    files = [
        own,
        {"name": "a.txt", "mode": "external", "is_external": True, "url_private": "https://x.example"},
        {"name": "b.txt", "mode": "external", "url_private": own["url_private"]},
        {"name": "c.txt", "is_external": True, "url_private": own["url_private"]},
        {"id": "F7"},
    ]
    async with receiving(server, store, intake):
        event = {"type": "message", "subtype": "file_share", "channel": "D100", "channel_type": "im"}
        await server.event({**event, "user": "UANNA", "ts": "1.1", "text": "", "files": files})
        await settled(server)
    assert intake.messages[0].attachments == (
        Attachment("notes.txt", url=own["url_private"], size=19),
        *(Attachment(name, problem="not_uploaded") for name in ("a.txt", "b.txt", "c.txt")),
        Attachment("F7", problem="not_fetched"),
    )
    assert not [call for call in server.calls if call.method.startswith("files")]


async def test_wrong_tokens_say_which_one_and_where_it_comes_from(server, store):
    with pytest.raises(WrongToken, match="FRONTDESK_SLACK_BOT_TOKEN"):
        await receiver_for(server, store, slack_bot_token="xoxb-wrong").run_forever()
    with pytest.raises(WrongToken, match="connections:write"):
        await receiver_for(server, store, slack_app_token="xapp-wrong").run_forever()
    with pytest.raises(PlatformBusy, match="cannot be reached"):
        await receiver_for(server, store, slack_api_url="http://127.0.0.1:1/api/").run_forever()


@pytest.mark.parametrize("method", ["auth.test", "apps.connections.open"])
async def test_only_a_refused_token_counts_as_wrong_at_the_start(server, store, method):
    async def start():
        await receiver_for(server, store).run_forever()

    for reason in ("account_inactive", "token_revoked", "not_allowed_token_type"):
        server.fail_next(method, reason)
        with pytest.raises(WrongToken, match=reason):
            await start()
    server.fail_next(method, "missing_scope")
    with pytest.raises(WrongToken, match="missing_scope: chat:write"):
        await start()
    pages = [{"status": status, "content_type": kind} for status in (200, 502) for kind in PAGES]
    for fault in ({"error": "internal_error"}, {"error": "team_access_not_granted"}, *pages):
        server.fail_next(method, **fault)
        with pytest.raises(PlatformBusy):
            await start()
    server.fail_next(method, "ratelimited", headers={"Retry-After": "0"}, times=3)
    with pytest.raises(PlatformBusy, match="ratelimited"):
        await start()
