"""Discord as its users see it: our real adapter, discord.py unmodified, a local server for Discord."""

import asyncio
import contextlib
import time

import pytest
from discord_server import DiscordServer
from running import background, working
from scripted import AskingBack

from bots.adapter import nonce_of
from bots.errors import PlatformBusy, PlatformRefused, StartError, WrongToken
from bots.message import Author, ConversationKey, Message
from bots.platforms.discord import DiscordReceiver, DiscordSender

RETURNS = "How long do I have to return something?"


@pytest.fixture
async def server(monkeypatch):
    async with DiscordServer() as server:
        server.redirect(monkeypatch)
        yield server


@contextlib.asynccontextmanager
async def frontdesk(server, store, engine, auto_channels=()):
    """The receiving and the sending half, and a worker between them."""
    receiver = DiscordReceiver(server.token, store.intake.receive, auto_channels)
    sender = DiscordSender(server.token)
    await sender.open()
    try:
        async with background(receiver.run_forever()), working(store, engine, {"discord": sender}):
            await server.wait_for(lambda s: s.connected)
            await server.wait_for(lambda s: s.commands.get(None))
            yield receiver
    finally:
        await sender.close()


def answers(server, channel):
    """What the bot has posted there and finished editing."""
    found = [m for m in server.messages[channel] if int(m["author"]["id"]) == server.bot_id]
    return [m for m in found if "Source" in m["content"] or "colleague" in m["content"]]


async def answer_in(server, channel, count=1):
    await server.wait_for(lambda s: len(answers(s, channel)) >= count, timeout=20)
    return answers(server, channel)[-1]


async def test_a_mention_is_answered_in_its_channel_as_a_reply(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        question = await server.say(server.channel_id, RETURNS, mention_bot=True)
        answer = await answer_in(server, server.channel_id)
    assert "30 days" in answer["content"]
    assert "(returns.md)" in answer["content"]
    assert answer["message_reference"]["message_id"] == question["id"]
    assert not server.messages[server.second_channel_id]


async def test_direct_messages_threads_and_replies_to_the_bot_are_answered(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        await server.dm(RETURNS, user_id=server.user_id)
        direct = await answer_in(server, server.dm_channel(server.user_id))
        await server.say(server.thread_id, RETURNS, mention_bot=True)
        await answer_in(server, server.thread_id)
        await server.say(server.channel_id, RETURNS, mention_bot=True)
        first = await answer_in(server, server.channel_id)
        await server.say(server.channel_id, "How do I reset my password?", reply_to=first, mention_bot=True)
        second = await answer_in(server, server.channel_id, count=2)
    assert "30 days" in direct["content"]
    assert "password" in second["content"]


async def test_what_is_not_addressed_to_the_bot_is_left_alone(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        await server.say(server.channel_id, RETURNS)
        server.add_user(77, "robot", bot=True)
        await server.say(server.channel_id, RETURNS, author=77, mention_bot=True)
        await server.dm(RETURNS, user_id=server.user_id)
        await answer_in(server, server.dm_channel(server.user_id))
    assert len(server.messages[server.channel_id]) == 2


async def test_the_slash_command_is_deferred_at_once_and_then_filled(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        interaction = await server.interact("ask", {"question": RETURNS})
        await server.wait_for(lambda s: s.response(interaction).callback)
        assert server.response(interaction).callback["type"] == 5  # deferred channel message
        await server.wait_for(
            lambda s: (m := s.response(interaction).message) and "returns.md" in m["content"], timeout=20
        )
    assert len(server.messages[server.channel_id]) == 1


async def test_an_automatic_channel_is_answered_without_a_mention(server, store, sample_service):
    server.message_content_enabled = True
    async with frontdesk(server, store, sample_service, {str(server.second_channel_id)}):
        await server.say(server.second_channel_id, RETURNS)
        await server.say(server.channel_id, RETURNS)
        await answer_in(server, server.second_channel_id)
    assert not answers(server, server.channel_id)


async def test_no_privileged_intent_is_asked_for_without_automatic_channels(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        assert not server.intents & (1 << 15 | 1 << 8 | 1 << 1)


async def test_events_that_a_reconnect_brings_again_are_answered_once(server, store, sample_service):
    async with frontdesk(server, store, sample_service) as receiver:
        await server.say(server.channel_id, RETURNS, mention_bot=True)
        await answer_in(server, server.channel_id)
        again = receiver.get_channel(server.channel_id)
        message = await again.fetch_message(int(server.messages[server.channel_id][0]["id"]))
        await receiver.on_message(message)
        await server.dm("thanks", user_id=server.user_id)
        await server.wait_for(lambda s: len(s.messages[s.dm_channel(s.user_id)]) == 2, timeout=10)
    assert len(answers(server, server.channel_id)) == 1


async def test_a_text_file_is_read_and_another_file_is_told(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        await server.dm(
            "/summarise",
            user_id=server.user_id,
            attachments={"notes.txt": "The oven is broken. The oven will be repaired on Monday."},
        )
        channel = server.dm_channel(server.user_id)
        await server.wait_for(lambda s: len(s.messages[channel]) == 2, timeout=20)
        await server.dm("", user_id=server.user_id, attachments={"photo.png": b"\x89PNG\x00\xff"})
        await server.wait_for(lambda s: len(s.messages[channel]) == 4, timeout=20)
    assert "oven" in server.messages[channel][1]["content"]
    assert "photo.png" in server.messages[channel][3]["content"]


async def test_personal_data_comes_back_in_private_and_is_masked_in_a_channel(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        await server.dm("/draft mail jane@x.example about it.", user_id=server.user_id)
        channel = server.dm_channel(server.user_id)
        await server.wait_for(lambda s: len(s.messages[channel]) == 2, timeout=20)
        await server.say(server.channel_id, "/draft mail jane@x.example about it.", mention_bot=True)
        await server.wait_for(lambda s: len(s.messages[s.channel_id]) == 2, timeout=20)
    assert "jane@x.example" in server.messages[channel][1]["content"]
    assert "[email address]" in server.messages[server.channel_id][1]["content"]


async def test_a_post_whose_answer_was_lost_is_not_posted_twice(server, store, sample_service):
    async with frontdesk(server, store, sample_service):
        server.fail_next(502, path="POST /channels", after=True)
        await server.say(server.channel_id, RETURNS, mention_bot=True)
        await answer_in(server, server.channel_id)
        await asyncio.sleep(1.5)
    assert (
        len([m for m in server.messages[server.channel_id] if int(m["author"]["id"]) == server.bot_id]) == 1
    )


async def test_a_wrong_token_and_a_missing_intent_say_what_to_do(server, store):
    with pytest.raises(WrongToken, match="FRONTDESK_DISCORD_TOKEN"):
        await DiscordReceiver("wrong", store.intake.receive).run_forever()
    sender = DiscordSender("wrong")
    with pytest.raises(WrongToken, match="FRONTDESK_DISCORD_TOKEN"):
        await sender.open()
    await sender.close()
    with pytest.raises(StartError, match="Message Content Intent"):
        await DiscordReceiver(server.token, store.intake.receive, {"1"}).run_forever()


@contextlib.asynccontextmanager
async def receiving(server, auto_channels=()):
    """The receiving half alone, and what it has received."""
    received = []

    async def receive(message, also):
        received.append(message)

    async with background(DiscordReceiver(server.token, receive, auto_channels).run_forever()):
        await server.wait_for(lambda s: s.connected)
        await server.wait_for(lambda s: s.commands.get(None))
        yield received


@pytest.fixture
async def sender(server):
    sender = DiscordSender(server.token)
    yield sender
    await sender.close()


def asked(server):
    conversation = ConversationKey("discord", str(server.guild_id), str(server.channel_id))
    return Message("discord:1", conversation, Author("1"), "a question", is_private=False)


def posted(server):
    """What the bot shows in the channel, without the mark of a deferral."""
    return [m["content"] for m in server.messages[server.channel_id] if not m["flags"] & 1 << 7]


async def test_a_deferral_that_has_expired_is_answered_in_the_channel(server, sender):
    async with receiving(server) as received:
        await server.interact("ask", {"question": RETURNS})
        await server.wait_for(lambda s: received)
    message = received[0]
    server.clock = lambda: time.time() + 16 * 60
    nonce = nonce_of(message.id, 0)
    ref = await sender.post(message, "30", nonce=nonce, is_retry=False)
    assert await sender.post(message, "30", nonce=nonce, is_retry=True) == ref
    await sender.edit(message, ref, "30 days")
    assert posted(server) == ["30 days"]


async def test_a_deferral_that_expires_while_it_is_filled_goes_on_in_the_channel(server, sender):
    async with receiving(server) as received:
        interaction = await server.interact("ask", {"question": RETURNS})
        await server.wait_for(lambda s: received)
    message = received[0]
    ref = await sender.post(message, "30", nonce=nonce_of(message.id, 0), is_retry=False)
    assert server.response(interaction).message["content"] == "30"
    server.clock = lambda: time.time() + 16 * 60
    await sender.edit(message, ref, "30 days")
    await sender.edit(message, ref, "30 days, unopened")
    assert posted(server) == ["30", "30 days, unopened"]
    assert len([call for call in server.calls if call.status == 401]) == 1
    taken_over = DiscordSender(server.token)  # another worker, which finds the stored ref
    await taken_over.edit(message, ref, "30 days, unopened, with receipt")
    await taken_over.finish(message, "", None)
    await taken_over.close()
    assert posted(server) == ["30", "30 days, unopened, with receipt"]


async def test_a_deferral_that_somebody_deleted_is_answered_in_the_channel(server, sender):
    async with receiving(server) as received:
        interaction = await server.interact("ask", {"question": RETURNS})
        await server.wait_for(lambda s: received)
    server.response(interaction).message = None
    await sender.edit(received[0], "@original", "30 days")
    assert posted(server) == ["30 days"]


async def test_discords_refusals_mean_later_or_never(server, sender):
    async def post():
        await sender.post(asked(server), "hello", nonce="n", is_retry=False)

    await post()
    server.fail_next(503, path="/messages")
    with pytest.raises(PlatformBusy):
        await post()
    server.fail_next(429, {"Via": "", "Retry-After": "7"}, path="/messages")  # a ban by Cloudflare
    with pytest.raises(PlatformBusy) as busy:
        await post()
    assert busy.value.retry_after == 7
    server.fail_next(401, path="/messages")  # the token was reset: the answer waits for the new one
    with pytest.raises(PlatformBusy):
        await post()
    for status in (400, 403, 404):
        server.fail_next(status, path="/messages")
        with pytest.raises(PlatformRefused):
            await post()


async def test_a_discord_that_is_down_is_tried_again(server, sender, store):
    server.fail_next(503, times=3, path="/users/@me")
    with pytest.raises(PlatformBusy):
        await DiscordReceiver(server.token, store.intake.receive).run_forever()
    with pytest.raises(PlatformBusy):
        await sender.open()
    with pytest.raises(PlatformBusy):
        await sender.typing(asked(server))
    posts = [sender.post(asked(server), "hello", nonce="n", is_retry=False) for _ in range(3)]
    assert len(set(await asyncio.gather(*posts))) == 1
    assert posted(server) == ["hello"]
    assert len([call for call in server.calls if call.path == "/users/@me"]) == 4


async def test_opening_may_be_cut_short(server, sender):
    opening = asyncio.create_task(sender.open())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait({opening})
    await sender.post(asked(server), "hello", nonce="n", is_retry=False)
    assert posted(server) == ["hello"]


async def test_what_is_to_be_said_waits_while_the_token_is_wrong(server):
    sender = DiscordSender("wrong")
    with pytest.raises(PlatformBusy, match="FRONTDESK_DISCORD_TOKEN"):
        await sender.post(asked(server), "hello", nonce="n", is_retry=False)
    await sender.close()


async def test_a_token_that_is_reset_while_connected_is_told(server, store):
    async with receiving(server):
        pass
    receiver = DiscordReceiver(server.token, store.intake.receive)
    running = asyncio.create_task(receiver.run_forever())
    await server.wait_for(lambda s: s.connected)
    await server.drop_connections(4004)
    with pytest.raises(WrongToken, match="FRONTDESK_DISCORD_TOKEN"):
        await asyncio.wait_for(running, 10)


async def test_webhooks_system_messages_and_the_bot_itself_are_left_alone(server):
    server.message_content_enabled = True
    channel, customer = server.channel_id, server.users[server.user_id]
    async with receiving(server, {str(channel)}) as received:
        await server._create(
            channel, customer, {"content": "from a webhook"}, webhook_id="123456789012345678"
        )
        await server._create(channel, customer, {"content": ""}, type=7)  # has joined
        official = server.add_user(server.user_id + 900, "discord") | {"system": True}
        await server._create(server.dm_channel(server.user_id + 900), official, {"content": "from Discord"})
        await server._create(channel, server.users[server.bot_id], {"content": "from the bot"})
        await server.say(channel, "from a customer")
        await server.wait_for(lambda s: received)
    assert [message.text for message in received] == ["from a customer"]


async def test_odd_messages_are_taken_as_they_are(server, caplog):
    unknown = str(server.guild_id + 900)
    async with receiving(server) as received:
        customer = server.users[server.user_id]
        embeds = {"content": "", "embeds": [{"type": "rich", "title": "a link"}]}
        await server._create(server.dm_channel(server.user_id), customer, embeds)
        sample = await server.say(server.channel_id, "first", mention_bot=True)
        await server.wait_for(lambda s: len(received) == 2)
        for place in (
            {"guild_id": unknown, "channel_id": str(server.channel_id + 900)},
            {"guild_id": str(server.guild_id), "channel_id": str(server.thread_id + 900)},
        ):
            await server.event(
                "MESSAGE_CREATE", sample | place | {"id": str(int(sample["id"]) + len(received))}
            )
        await server.wait_for(lambda s: len(received) == 4)
    assert [message.text for message in received] == ["", "first", "first", "first"]
    assert [message.is_private for message in received] == [True, False, False, False]
    assert received[2].conversation.workspace == unknown
    assert received[3].conversation.channel == str(server.thread_id + 900)
    assert not [record for record in caplog.records if record.exc_info]


async def test_mentions_of_the_bot_are_taken_out_and_nothing_else(server):
    async with receiving(server) as received:
        text = f"refund order 55 <@!{server.bot_id}> today\n    please <@{server.bot_id}>"
        await server.say(server.channel_id, text, mention_bot=True)
        await server.wait_for(lambda s: received)
    assert received[0].text == "refund order 55 today\n    please"


@pytest.mark.parametrize("place", ["channel", "command"])
async def test_a_question_back_has_buttons_that_ask_what_they_say(server, store, place):
    async with frontdesk(server, store, AskingBack()):
        if place == "channel":
            await server.say(server.channel_id, "return?", mention_bot=True)
        else:
            await server.interact("ask", {"question": "return?"})

        def offered():
            return [m for m in server.messages[server.channel_id] if m.get("components")]

        await server.wait_for(lambda _: offered())
        (post,) = offered()
        labels = [button["label"] for row in post["components"] for button in row["components"]]
        assert labels == [*AskingBack.options, "None of these"]
        await server.click(post, "frontdesk:option:2")
        answer = await answer_in(server, server.channel_id)
    assert answer["content"] == "You asked a colleague: How do I return a gift?"


async def test_buttons_of_others_ask_nothing_and_are_acknowledged(server):
    async with receiving(server) as received:
        post = await server.say(server.channel_id, "hello")
        post["components"] = [
            {"type": 1, "components": [{"type": 2, "style": 1, "label": "x", "custom_id": "other"}]}
        ]
        click = await server.click(post, "other")
        await server.wait_for(lambda s: s.response(click).callback)
        assert received == []
