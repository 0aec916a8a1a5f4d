"""What the bot hears at Discord: who means it, and what it makes of it."""

import asyncio

import pytest
from discord_parts import Recorder, receiving
from discord_server import DiscordServer

RETURNS = "How long do I have to return something?"


@pytest.fixture
async def server(monkeypatch):
    async with DiscordServer() as server:
        server.redirect(monkeypatch)
        yield server


async def everywhere(conversation):
    """The bot has answered in every conversation."""
    return True


async def test_no_privileged_intent_is_asked_for_by_default(server, store):
    async with receiving(server, store):
        assert not server.intents & (1 << 15 | 1 << 8 | 1 << 1)


@pytest.mark.parametrize("options", [{"message_content": True}, {"auto_channels": ["1"]}])
async def test_the_content_intent_is_asked_for_where_it_is_set(server, store, options):
    server.message_content_enabled = True
    async with receiving(server, store, **options):
        assert server.intents & 1 << 15


async def test_direct_messages_mentions_replies_and_forum_posts_are_heard(server, store):
    async with receiving(server, store) as received:
        await server.dm("direct")
        await server.say(server.thread_id, "in a thread", mention_bot=True)
        own = await server._create(server.channel_id, server.users[server.bot_id], {"content": "an answer"})
        await server.say(server.channel_id, "a reply", reply_to=own)
        post = await server.forum_post("Late", "in a forum", mention_bot=True)
        await server.say(server.channel_id, "not meant for the bot")
        await server.dm("the end")
        await server.wait_for(lambda s: "the end" in received.texts)
    by_text = {message.text: message for message in received.messages}
    assert set(by_text) == {"direct", "in a thread", "a reply", "in a forum", "the end"}
    assert by_text["direct"].is_private and not by_text["in a thread"].is_private
    assert by_text["in a thread"].conversation.channel == str(server.thread_id)
    assert by_text["in a forum"].conversation.channel == post["id"] == post["channel_id"]
    assert all(message.is_direct and message.author.name == "Customer" for message in received.messages)


async def test_a_thread_goes_on_without_a_mention_once_the_bot_has_answered_there(server, store):
    server.message_content_enabled = True
    answered = {str(server.thread_id)}

    async def knows(conversation):
        return conversation.channel in answered

    async with receiving(server, store, message_content=True, knows=knows) as received:
        await server.say(server.channel_id, "a channel is no thread")
        post = await server.forum_post("Late", "not answered in yet")
        await server.say(int(post["id"]), "now it is", mention_bot=True)
        await server.say(server.thread_id, "and then?")
        await server.say(server.thread_id, "really?", mention_bot=True)
        await server.wait_for(lambda s: len(received.messages) == 3)
        answered.add(post["id"])
        await server.say(int(post["id"]), "still late")
        await server.wait_for(lambda s: len(received.messages) == 4)
    assert {m.text: m.is_direct for m in received.messages} == {
        "now it is": True,
        "and then?": False,
        "really?": True,
        "still late": False,
    }


async def test_without_the_intent_a_thread_needs_a_mention(server, store):
    async with receiving(server, store, knows=everywhere) as received:
        await server.say(server.thread_id, "and then?")
        await server.dm("the end")
        await server.wait_for(lambda s: received.messages)
    assert received.texts == ["the end"]


async def test_automatic_channels_need_no_mention_nor_do_the_posts_of_a_forum(server, store):
    server.message_content_enabled = True
    auto = [str(server.second_channel_id), str(server.forum_id)]
    async with receiving(server, store, auto_channels=auto) as received:
        await server.say(server.second_channel_id, RETURNS)
        await server.say(server.channel_id, RETURNS)
        await server.forum_post("Late", "Where is it?")
        await server.wait_for(lambda s: len(received.messages) == 2)
    assert sorted(received.texts) == sorted([RETURNS, "Where is it?"])
    assert not any(message.is_direct for message in received.messages)


async def test_webhooks_system_messages_bots_and_the_bot_itself_are_left_alone(server, store):
    server.message_content_enabled = True
    channel, customer = server.channel_id, server.users[server.user_id]
    async with receiving(server, store, auto_channels={str(channel)}) as received:
        await server._create(channel, customer, {"content": "a hook"}, webhook_id="123456789012345678")
        await server._create(channel, customer, {"content": ""}, type=7)  # has joined
        official = server.add_user(server.user_id + 900, "discord") | {"system": True}
        await server._create(server.dm_channel(server.user_id + 900), official, {"content": "from Discord"})
        server.add_user(77, "robot", bot=True)
        robots = await server.say(channel, "from a bot", author=77, mention_bot=True)
        own = await server._create(channel, server.users[server.bot_id], {"content": "from the bot"})
        for message in (robots, own):
            await server.rewrite(message, "edited by a bot")
        await server.say(channel, "from a customer")
        await server.wait_for(lambda s: received.messages)
    assert received.texts == ["from a customer"]
    assert received.changes == []


async def test_odd_messages_are_taken_as_they_are(server, store, caplog):
    unknown = str(server.guild_id + 900)
    async with receiving(server, store) as received:
        customer = server.users[server.user_id]
        embeds = {"content": "", "embeds": [{"type": "rich", "title": "a link"}]}
        await server._create(server.dm_channel(server.user_id), customer, embeds)
        sample = await server.say(server.channel_id, "first", mention_bot=True)
        await server.wait_for(lambda s: len(received.messages) == 2)
        for place in (
            {"guild_id": unknown, "channel_id": str(server.channel_id + 900)},
            {"guild_id": str(server.guild_id), "channel_id": str(server.thread_id + 900)},
        ):
            again = {"id": str(int(sample["id"]) + len(received.messages))}
            await server.event("MESSAGE_CREATE", sample | place | again)
            await server.wait_for(lambda s: received.messages[-1].id.endswith(again["id"]))  # noqa: B023
    assert received.texts == ["", "first", "first", "first"]
    assert [message.is_private for message in received.messages] == [True, False, False, False]
    assert received.messages[2].conversation.workspace == unknown
    assert received.messages[3].conversation.channel == str(server.thread_id + 900)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ("<@{me}> refund order 55 <@{me}> today please", "refund order 55 today please"),
        ("refund order 55 <@!{me}> today\n    please <@{me}>", "refund order 55 today\n    please"),
        ("<@{me}>", ""),
        ("<@{me}> ask <@99> about <#5>", "ask <@99> about <#5>"),
    ],
)
async def test_mentions_of_the_bot_are_taken_out_and_nothing_else(server, store, written, heard):
    async with receiving(server, store) as received:
        await server.say(server.channel_id, written.format(me=server.bot_id))
        await server.wait_for(lambda s: received.messages)
    assert received.texts == [heard]


async def test_files_come_along_by_their_address(server, store):
    async with receiving(server, store) as received:
        await server.say(server.channel_id, "read this", mention_bot=True, attachments={"notes.txt": "late"})
        await server.wait_for(lambda s: received.messages)
    (file,) = received.messages[0].attachments
    assert (file.name, file.size, file.text) == ("notes.txt", 4, "")
    assert file.url.endswith("/notes.txt")


async def test_an_edited_question_is_handed_on_once_and_a_preview_is_no_edit(server, store):
    async with receiving(server, store) as received:
        question = await server.say(server.channel_id, "how long?", mention_bot=True)
        await server.unfurl(question)
        await server.rewrite(question, f"<@{server.bot_id}> how long, and where?")
        await server.unfurl(question)
        other = await server.say(server.channel_id, "among people")
        await server.rewrite(other, "among people still")
        await server.dm("the end")
        await server.wait_for(lambda s: len(received.messages) == 2 and received.changes)
    ((_, change),) = received.changes
    assert (change.kind, change.message_id) == ("edit", f"discord:{question['id']}")
    assert (change.text, change.author_id) == ("how long, and where?", str(server.user_id))
    assert change.conversation == received.messages[0].conversation


async def test_deleted_messages_are_handed_on_where_the_bot_was_ever_addressed(server, store):
    async with receiving(server, store) as received:
        elsewhere = await server.say(server.second_channel_id, "among people")
        await server.remove(elsewhere)
        first = await server.say(server.channel_id, "one", mention_bot=True)
        more = [await server.say(server.channel_id, f"{n}", mention_bot=True) for n in (2, 3)]
        direct = await server.dm("direct")
        await server.wait_for(lambda s: len(received.messages) == 4)
        await server.remove(first)
        await server.remove(*more)
        await server.remove(direct)
        await server.wait_for(lambda s: len(received.changes) == 4)
    places = {message.id: message.conversation for message in received.messages}
    assert {change.message_id: change.conversation for _, change in received.changes} == places
    assert {change.kind for _, change in received.changes} == {"delete"}


async def test_messages_of_one_channel_keep_their_order(server, store, monkeypatch):
    take, waits = Recorder.receive, [0.05]

    async def the_first_takes_longest(self, message, also=()):
        await asyncio.sleep(waits.pop() if waits else 0)
        return await take(self, message, also)

    monkeypatch.setattr(Recorder, "receive", the_first_takes_longest)
    async with receiving(server, store) as received:
        for number in range(10):
            await server.say(server.channel_id, f"{number}", mention_bot=True)
        await server.wait_for(lambda s: len(received.messages) == 10)
    assert received.texts == [f"{number}" for number in range(10)]
