"""The connection to Discord: resumed, begun anew, dead, refused; and what was written meanwhile."""

import asyncio
from datetime import timedelta

import discord
import pytest
from discord_parts import Recorder, WatchedPulse, receiver_of, receiving
from discord_server import DiscordServer
from running import background

from bots import marks
from bots.errors import PlatformBusy, StartError, WrongToken
from bots.marks import Marks
from bots.message import ConversationKey
from bots.platforms.discord import DiscordReceiver, backlog, receiver
from bots.platforms.discord.gateway import Gateway
from bots.pulse import Pulse
from bots.tasks import end


@pytest.fixture
async def server(monkeypatch):
    async def at_once(self, shard_id, *, initial=False):
        """discord.py's own waits five seconds before a second session."""

    monkeypatch.setattr(Gateway, "before_identify_hook", at_once)
    monkeypatch.setattr(marks, "LAG_SECONDS", 0.0)
    async with DiscordServer() as server:
        server.redirect(monkeypatch)
        yield server


async def say_and_hear(server, received, text):
    await server.say(server.channel_id, text, mention_bot=True)
    await server.wait_for(lambda s: text in received.texts)


@pytest.mark.parametrize("way", ["4000", "4009", "cut", "opcode 7", "opcode 9, resumable"])
async def test_a_connection_that_breaks_is_resumed_and_what_was_missed_is_heard_once(server, store, way):
    pulse = WatchedPulse(store.redis)
    async with receiving(server, store, pulse=pulse) as received:
        await say_and_hear(server, received, "before")
        if way == "opcode 7":
            await server.ask_to_reconnect()
        elif way == "opcode 9, resumable":
            await server.invalidate(resumable=True)
        else:
            await server.drop_connections(None if way == "cut" else int(way))
        await server.say(server.channel_id, "meanwhile", mention_bot=True)
        await server.wait_for(lambda s: s.resumes and "meanwhile" in received.texts)
        await say_and_hear(server, received, "after")
    assert received.texts == ["before", "meanwhile", "after"]
    assert (len(server.identifies), len(server.resumes)) == (1, 1)
    assert pulse.lost_as[0] == "reconnecting"


async def test_events_that_a_resume_brings_again_are_heard_once(server, store):
    async with receiving(server, store) as received:
        for number in range(5):
            await server.say(server.channel_id, f"{number}", mention_bot=True)
        await server.wait_for(lambda s: len(received.messages) == 5)
        (session,) = server.sessions.values()
        for event in [event for event in session.events if event[0] == "MESSAGE_CREATE"]:
            await server.event(*event)
        await say_and_hear(server, received, "after")
    assert received.texts == ["0", "1", "2", "3", "4", "after"]


async def test_after_an_invalid_session_channels_are_read_back_in_order(server, store):
    async with receiving(server, store) as received:
        await say_and_hear(server, received, "before")
        await server.dm("direct")
        await server.wait_for(lambda s: len(received.messages) == 2)
        sessions = dict(server.sessions)
        server.sessions.clear()  # what is written now reaches nobody
        for number in range(3):
            await server.say(server.channel_id, f"missed {number}", mention_bot=True)
        await server.say(server.channel_id, "among people")
        await server.dm("missed directly")
        await server.say(server.second_channel_id, "never addressed there before", mention_bot=True)
        assert len(sessions) == 1
        await server.drop_connections()
        await server.wait_for(lambda s: len(s.identifies) == 2 and len(received.messages) == 6)
        await say_and_hear(server, received, "after")
    here = [m.text for m in received.messages if m.conversation.channel == str(server.channel_id)]
    assert here == ["before", "missed 0", "missed 1", "missed 2", "after"]
    assert "missed directly" in received.texts
    assert "never addressed there before" not in received.texts
    assert {m.is_private for m in received.messages if "direct" in m.text} == {True}


async def test_what_was_missed_while_the_process_was_down_comes_before_what_is_written_now(server, store):
    async with receiving(server, store) as received:
        await say_and_hear(server, received, "before")
    for number in range(3):
        await server.say(server.channel_id, f"missed {number}", mention_bot=True)
    recorder = Recorder()
    async with background(receiver_of(server, store, recorder, guild_ready_seconds=0.3).run_forever()):
        await server.wait_for(lambda s: s.connected)
        await server.say(server.channel_id, "now", mention_bot=True)
        await server.wait_for(lambda s: "now" in recorder.texts)
    assert recorder.texts == ["missed 0", "missed 1", "missed 2", "now"]
    calls = [call for call in server.calls if call.method == "GET" and call.path.endswith("/messages")]
    assert len(calls) == 1


async def test_reading_back_has_bounds(server, store, monkeypatch):
    monkeypatch.setattr(backlog, "_MOST_MESSAGES", 2)
    monkeypatch.setattr(backlog, "_MOST_CHANNELS", 1)
    async with receiving(server, store) as received:
        await server.say(server.second_channel_id, "the older place", mention_bot=True)
        await server.wait_for(lambda s: received.messages)
        await say_and_hear(server, received, "before")
    await server.say(server.second_channel_id, "too many channels", mention_bot=True)
    for number in range(3):
        await server.say(server.channel_id, f"missed {number}", mention_bot=True)
    async with receiving(server, store) as received:
        await server.wait_for(lambda s: len(received.messages) == 2)
        await server.dm("the end")
        await server.wait_for(lambda s: len(received.messages) == 3)
    assert received.texts == ["missed 1", "missed 2", "the end"]


async def test_what_is_older_than_a_day_is_not_answered_any_more(server, store):
    here = ConversationKey("discord", str(server.guild_id), str(server.channel_id))
    ages = {"long ago": timedelta(hours=25), "lately": timedelta(hours=20)}
    for text, age in ages.items():
        message = await server.say(server.channel_id, text, mention_bot=True)
        message["id"] = str(discord.utils.time_snowflake(discord.utils.utcnow() - age))
    two_days = discord.utils.time_snowflake(discord.utils.utcnow() - timedelta(days=2))
    await Marks(store.redis, "discord").advance(here, str(two_days))
    async with receiving(server, store) as received:
        await server.wait_for(lambda s: received.messages)
        await say_and_hear(server, received, "now")
    assert received.texts == ["lately", "now"]


async def test_a_channel_that_cannot_be_read_stops_no_other(server, store):
    async with receiving(server, store) as received:
        for channel in (server.channel_id, server.second_channel_id, server.thread_id):
            await server.say(channel, "before", mention_bot=True)
        await server.wait_for(lambda s: len(received.messages) == 3)
    await server.say(server.channel_id, "missed", mention_bot=True)
    server.forbidden.add(server.second_channel_id)
    del server.channels[server.thread_id]
    async with receiving(server, store) as received:
        await server.wait_for(lambda s: received.messages)
        gone = ConversationKey("discord", str(server.guild_id), str(server.thread_id))
        while await Marks(store.redis, "discord").has(gone):
            await asyncio.sleep(0.01)
        await server.dm("the end")
        await server.wait_for(lambda s: len(received.messages) == 2)
    assert received.texts == ["missed", "the end"]


async def test_a_connection_that_says_nothing_any_more_is_made_again(server, store):
    server.heartbeat_interval = 50
    pulse = WatchedPulse(store.redis)
    async with receiving(server, store, pulse=pulse, silent_seconds=0.4) as received:
        await asyncio.sleep(0.6)  # heartbeats alone are a sign of life
        assert (pulse.lost_as, len(server.identifies)) == ([], 1)
        server.acknowledges = False
        await server.wait_for(lambda s: "silent" in pulse.lost_as)
        server.acknowledges = True
        await server.wait_for(lambda s: len(s.identifies) == 2)
        await say_and_hear(server, received, "after")


async def test_a_discord_that_goes_down_while_connected_is_tried_again(server, store, monkeypatch):
    monkeypatch.setattr(receiver, "_AGAIN_SECONDS", 0.01)
    pulse = WatchedPulse(store.redis)
    async with receiving(server, store, pulse=pulse) as received:
        server.fail_next(503, {"Retry-After": "0"}, times=2, path="/users/@me")
        await server.drop_connections(4011)  # sharding required: discord.py gives up
        await server.wait_for(lambda s: len(s.identifies) == 2)
        await say_and_hear(server, received, "after")
    assert len([call for call in server.calls if call.status == 503]) == 2


async def test_a_wrong_token_and_a_missing_intent_say_what_to_do(server, store):
    pulse = Pulse(store.redis, "discord")
    with pytest.raises(WrongToken, match="FRONTDESK_DISCORD_TOKEN"):
        await DiscordReceiver("wrong", Recorder(), store.redis, pulse).run_forever()
    for options in ({"auto_channels": ["1"]}, {"message_content": True}):
        with pytest.raises(StartError, match="Message Content Intent"):
            await receiver_of(server, store, Recorder(), **options).run_forever()


async def test_a_token_that_is_reset_while_connected_is_told(server, store):
    running = asyncio.create_task(receiver_of(server, store, Recorder()).run_forever())
    await server.wait_for(lambda s: s.connected)
    await server.drop_connections(4004)
    with pytest.raises(WrongToken, match="FRONTDESK_DISCORD_TOKEN"):
        await asyncio.wait_for(running, 10)


async def test_a_discord_that_is_down_at_the_start_is_told(server, store):
    server.fail_next(503, path="/users/@me")
    with pytest.raises(PlatformBusy):
        await receiver_of(server, store, Recorder()).run_forever()


async def test_a_command_that_was_acknowledged_is_stored_before_the_end(server, store, monkeypatch):
    take, taking, go_on = Recorder.receive, asyncio.Event(), asyncio.Event()

    async def receive(self, message, also=()):
        taking.set()
        await go_on.wait()
        return await take(self, message, also)

    monkeypatch.setattr(Recorder, "receive", receive)
    recorder = Recorder()
    running = asyncio.create_task(receiver_of(server, store, recorder).run_forever())
    await server.wait_for(lambda s: s.connected and s.commands.get(None))
    await server.interact("ask", {"question": "How long?"})
    await asyncio.wait_for(taking.wait(), 5)
    ending = asyncio.create_task(end(running))
    await asyncio.sleep(0.3)  # it is cancelled more than once meanwhile
    late = await server.interact("ask", {"question": "too late"})
    go_on.set()
    await asyncio.wait_for(ending, 5)
    assert recorder.texts == ["How long?"]
    assert server.response(late).callback is None
