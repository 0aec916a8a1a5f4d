"""The local Discord of discord_server.py, as an unmodified discord.py client sees it."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from discord_server import DiscordServer, discord


@pytest.fixture
async def server(monkeypatch):
    async with DiscordServer() as server:
        server.redirect(monkeypatch)
        yield server


class Bot(discord.AutoShardedClient):
    """Answers what mentions it and every DM; /ask defers, then answers; a button edits its message."""

    def __init__(self, **options):
        options = {"intents": discord.Intents.default(), "guild_ready_timeout": 0.05} | options
        super().__init__(allowed_mentions=discord.AllowedMentions.none(), **options)
        self.tree = discord.app_commands.CommandTree(self)
        self.seen: list[discord.Message] = []
        self.resumed = 0

        @self.tree.command(description="Ask a question")
        async def ask(interaction: discord.Interaction, question: str):
            await interaction.response.defer(thinking=True)
            await interaction.edit_original_response(content=f"You asked: {question}")
            await interaction.followup.send("Anything else?", ephemeral=True)

    async def setup_hook(self):
        await self.tree.sync()

    async def before_identify_hook(self, shard_id, *, initial=False):
        """discord.py's own waits 5 seconds before a second IDENTIFY."""

    async def on_message(self, message):
        self.seen.append(message)
        if message.author != self.user and (self.user in message.mentions or message.guild is None):
            await message.reply(f"Hello @everyone: {message.clean_content}")

    async def on_interaction(self, interaction):
        if interaction.type is discord.InteractionType.component:
            await interaction.response.edit_message(content="Thank you", view=None)

    async def on_resumed(self):
        self.resumed += 1


@asynccontextmanager
async def running(server, **options):
    bot = Bot(**options)
    task = asyncio.create_task(bot.start(server.token))
    try:
        await server.wait_for(lambda s: s.connected)
        await asyncio.wait_for(bot.wait_until_ready(), 5)
        yield bot
    finally:
        await bot.close()
        await asyncio.wait_for(task, 5)


def posted(server, channel_id):
    """What the bot has written in a channel."""
    return [m for m in server.messages[channel_id] if m["author"]["bot"]]


async def test_mention_is_answered_with_a_reply(server):
    async with running(server) as bot:
        assert server.intents == discord.Intents.default().value
        assert [c.name for c in bot.guilds[0].text_channels] == ["help", "orders"]
        assert bot.get_channel(server.thread_id).parent_id == server.channel_id
        asked = await server.say(server.channel_id, "where is it?", mention_bot=True)
        (answer,) = await server.wait_for(lambda s: posted(s, s.channel_id))
        assert answer["content"] == "Hello @everyone: @Frontdesk where is it?"
        assert answer["message_reference"]["message_id"] == asked["id"]
        assert answer["mentions"] == [] and answer["mention_everyone"] is False
        call = next(c for c in server.calls if c.method == "POST" and c.path.endswith("/messages"))
        assert call.json["allowed_mentions"]["parse"] == [] and call.status == 200

        message = await bot.get_channel(server.channel_id).fetch_message(int(answer["id"]))
        await message.edit(content="Found it")
        assert answer["content"] == "Found it" and answer["edited_timestamp"]
        history = [m.id async for m in message.channel.history(after=discord.Object(int(asked["id"])))]
        assert history == [message.id]
        async with message.channel.typing():
            pass
        assert server.calls[-1].path == f"/channels/{server.channel_id}/typing"


async def test_content_is_hidden_without_the_intent(server):
    async with running(server) as bot:
        files = {"faq.txt": "Open 9 to 5"}
        await server.say(server.second_channel_id, "psst", attachments=files)
        await server.say(server.thread_id, "look", mention_bot=True, attachments=files)
        await server.wait_for(lambda s: posted(s, s.thread_id))
        hidden, shown = bot.seen[:2]
        assert (hidden.content, hidden.attachments) == ("", [])
        assert hidden.channel.id == server.second_channel_id and hidden.author.name == "customer"
        assert shown.content.endswith("look") and shown.channel.id == server.thread_id
        assert await shown.attachments[0].read() == b"Open 9 to 5"
        assert shown.attachments[0].content_type == "text/plain; charset=utf-8"
        again = await hidden.channel.fetch_message(hidden.id)
        assert again.content == ""
        # A reply to the bot mentions it.
        await server.say(server.thread_id, "thanks", reply_to=posted(server, server.thread_id)[0], author=77)
        await server.wait_for(lambda s: len(posted(s, s.thread_id)) == 2)


async def test_content_is_shown_with_the_intent(server):
    server.message_content_enabled = True
    intents = discord.Intents.default()
    intents.message_content = True
    async with running(server, intents=intents) as bot:
        assert bot.application_flags.gateway_message_content_limited
        await server.say(server.channel_id, "psst")
        await server.wait_for(lambda s: bot.seen)
        assert bot.seen[0].content == "psst"


async def test_dm_both_ways(server):
    async with running(server) as bot:
        await server.dm("hello", user_id=42)
        channel_id = server.dm_channel(42)
        await server.wait_for(lambda s: posted(s, channel_id))
        user = discord.Object(42)
        channel = await bot.create_dm(user)
        assert channel.id == channel_id
        await channel.send("and a file", file=discord.File(__file__, "test.py"))
        upload = posted(server, channel_id)[-1]["attachments"][0]
        async with aiohttp.ClientSession() as session, session.get(upload["url"]) as reply:
            assert "test_dm_both_ways" in await reply.text()


async def test_slash_command_deferred_then_edited(server):
    async with running(server) as bot:
        assert [c["name"] for c in server.commands[None]] == ["ask"]
        assert [c.name for c in await bot.tree.fetch_commands()] == ["ask"]
        sent = await server.interact("ask", {"question": "why?"}, server.channel_id, server.user_id)
        record = server.response(sent)
        await server.wait_for(lambda s: len(record.messages) == 2)
        assert record.callback["type"] == 5
        assert record.message["content"] == "You asked: why?" and record.message["flags"] == 0
        assert record.messages[1]["flags"] == 64
        assert server.messages[server.channel_id] == record.messages
        with pytest.raises(LookupError, match="not registered 'buy'"):
            await server.interact("buy", {}, server.channel_id, server.user_id)


async def test_interaction_answered_too_late(server):
    async with running(server):
        now = server.clock()
        server.clock = lambda: now
        sent = await server.interact("ask", {"question": "why?"}, server.dm_channel(42), 42)
        server.clock = lambda: now + 4
        call = await server.wait_for(lambda s: [c for c in s.calls if "callback" in c.path and c.status])
        assert call[0].status == 404 and server.response(sent).message is None


async def test_button(server):
    async with running(server) as bot:
        view = discord.ui.View(timeout=None)
        view.add_item(discord.ui.Button(label="Good", custom_id="good"))
        await bot.get_channel(server.channel_id).send("Was it good?", view=view)
        (message,) = server.messages[server.channel_id]
        await server.click(message, "good")
        await server.wait_for(lambda s: message["content"] == "Thank you")
        assert message["components"] == []


async def test_modal_suggestions_and_menu(server):
    seen = []
    async with running(server) as bot:

        @bot.tree.command(description="Order")
        async def order(interaction: discord.Interaction, size: str):
            field = discord.ui.TextInput(label="Notes", custom_id="notes")
            modal = discord.ui.Modal(title="Order", custom_id="order")
            await interaction.response.send_modal(modal.add_item(field))

        @order.autocomplete("size")
        async def sizes(interaction: discord.Interaction, typed: str):
            return [discord.app_commands.Choice(name=typed * 2, value=typed * 2)]

        @bot.tree.context_menu(name="Look")
        async def look(interaction: discord.Interaction, message: discord.Message):
            seen.append(message.content)
            await interaction.response.send_message("looked", ephemeral=True)

        await bot.tree.sync()
        typing = await server.type_in("order", "size", "x")
        await server.wait_for(lambda s: s.response(typing).callback)
        assert server.response(typing).callback["data"]["choices"] == [{"name": "xx", "value": "xx"}]
        opened = await server.interact("order", {"size": "xx"})
        await server.wait_for(lambda s: s.response(opened).callback)
        submitted = bot.wait_for(
            "interaction", check=lambda i: i.type is discord.InteractionType.modal_submit
        )
        waiting = asyncio.create_task(submitted)
        await asyncio.sleep(0)
        await server.submit(opened, {"notes": "blue"})
        interaction = await asyncio.wait_for(waiting, 5)
        assert interaction.data["components"][0]["components"][0]["value"] == "blue"
        about = await server.say(server.channel_id, "hidden from the bot")
        chosen = await server.choose("Look", about)
        await server.wait_for(lambda s: s.response(chosen).callback)
        assert seen == ["hidden from the bot"]
        for missing in (
            server.interact("order"),
            server.choose("order", about),
            server.type_in("ask", "question", "x"),
        ):
            with pytest.raises(LookupError):
                await missing


async def test_what_discord_refuses_of_commands(server):
    async with running(server) as bot:
        good = {"name": "x", "description": "x", "type": 1}
        option = {"name": "a", "description": "a", "type": 3}
        for bad in (
            good | {"name": "Upper"},
            good | {"name": "x" * 33},
            good | {"description": ""},
            good | {"options": [option, option | {"required": True}]},
            good | {"options": [option | {"choices": [{"name": "c", "value": "c"}] * 26}]},
        ):
            with pytest.raises(discord.HTTPException, match="50035"):
                await bot.http.bulk_upsert_global_commands(bot.application_id, [bad])
        with pytest.raises(discord.HTTPException, match="30032"):
            await bot.http.bulk_upsert_global_commands(bot.application_id, [good] * 101)


async def test_edits_deletions_and_forum_posts_reach_the_bot(server):
    events = []

    def noting(name):
        async def note(found):
            events.append((name, found))

        return note

    async with running(server) as bot:
        for name in ("raw_message_edit", "raw_message_delete", "raw_bulk_message_delete", "thread_create"):
            setattr(bot, f"on_{name}", noting(name))
        message = await server.say(server.channel_id, "one")
        await server.unfurl(message)
        await server.rewrite(message, "two")
        await server.remove(message)
        await server.remove(*[await server.say(server.channel_id, f"{n}") for n in range(2)])
        post = await server.forum_post("Late", "where is it?", mention_bot=True)
        await server.wait_for(lambda s: posted(s, int(post["id"])))
        first, second, deleted, many, thread = [found for _, found in events]
    assert first.message.edited_at is None and second.message.edited_at
    assert deleted.message_id == int(message["id"]) and len(many.message_ids) == 2
    assert thread.parent_id == server.forum_id and thread.id == int(post["id"])
    assert bot.seen[-2].channel == thread  # before the bot's own answer


async def test_a_bucket_says_what_is_left_and_refuses_more(server):
    server.limit("POST /channels", most=2, seconds=0.3)
    url = f"{server.rest_url}/channels/{server.channel_id}/messages"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {server.token}"}) as session:
        left = []
        for _ in range(3):
            async with session.post(url, json={"content": "x"}) as answer:
                left.append((answer.status, answer.headers["X-RateLimit-Remaining"]))
        assert left == [(200, "1"), (200, "0"), (429, "0")]
        assert 0 < float(answer.headers["Retry-After"]) <= 0.3
        other = url.replace(str(server.channel_id), str(server.second_channel_id))
        async with session.post(other, json={"content": "x"}) as answer:
            assert answer.status == 200


async def test_a_channel_without_access_is_refused(server):
    server.forbidden.add(server.channel_id)
    async with running(server) as bot:
        with pytest.raises(discord.Forbidden):
            await bot.get_channel(server.channel_id).send("hello")


async def test_same_nonce_gives_the_same_message(server):
    async with running(server) as bot:
        channel = bot.get_channel(server.channel_id)
        first, second = [await channel.send("once", nonce="job-1") for _ in range(2)]
        assert first.id == second.id and len(server.messages[server.channel_id]) == 1
        both = await asyncio.gather(*(channel.send("at once", nonce="job-2") for _ in range(2)))
        assert both[0].id == both[1].id != first.id
        now = server.clock()
        server.clock = lambda: now + 301
        assert (await channel.send("once", nonce="job-1")).id != first.id


async def test_lost_answer_is_tried_again_without_a_second_message(server):
    async with running(server) as bot:
        server.fail_next(502, path="POST /channels", after=True)
        await bot.get_channel(server.channel_id).send("once")
        assert len(posted(server, server.channel_id)) == 1
        server.fail_next(429, path="POST /channels")
        await bot.get_channel(server.channel_id).send("twice")
        assert [c.status for c in server.calls if c.method == "POST"] == [502, 200, 429, 200]


async def test_what_discord_refuses(server):
    async with running(server) as bot:
        channel = bot.get_channel(server.channel_id)
        with pytest.raises(discord.HTTPException) as caught:
            await channel.send("x" * 2001)
        assert (caught.value.status, caught.value.code) == (400, 50035)
        assert "content: Must be 2000 or fewer in length" in caught.value.text
        with pytest.raises(discord.HTTPException) as caught:
            await channel.send("")
        assert (caught.value.status, caught.value.code) == (400, 50006)
        theirs = await server.say(server.channel_id, "mine")
        with pytest.raises(discord.Forbidden):
            await channel.get_partial_message(int(theirs["id"])).edit(content="yours")
        with pytest.raises(discord.NotFound):
            await channel.fetch_message(1)
        assert server.messages[server.channel_id] == [theirs]


@pytest.mark.parametrize("code", [4000, 1000, None])
async def test_resume_replays_what_was_missed(server, code):
    async with running(server) as bot:
        await server.drop_connections(code)
        await server.say(server.channel_id, "still there?", mention_bot=True)
        await server.wait_for(lambda s: posted(s, s.channel_id))
        assert len(server.identifies) == 1 and len(server.resumes) == 1 and bot.resumed == 1


async def test_lost_session_is_not_replayed(server):
    async with running(server) as bot:
        await server.drop_connections(keep_sessions=False)
        await server.say(server.channel_id, "anybody?", mention_bot=True)
        await server.wait_for(lambda s: len(s.identifies) == 2 and s.connected)
        assert bot.seen == [] and bot.resumed == 0


@pytest.mark.parametrize("is_resumable", [True, False])
async def test_an_invalid_session_is_resumed_or_begun_anew(server, is_resumable):
    async with running(server) as bot:
        await server.invalidate(resumable=is_resumable)
        await server.wait_for(lambda s: len(s.resumes) == 1 if is_resumable else len(s.identifies) == 2)
        await server.wait_for(lambda s: s.connected)
        await server.say(server.channel_id, "still there?", mention_bot=True)
        await server.wait_for(lambda s: posted(s, s.channel_id))
        assert bot.resumed == is_resumable


async def test_asked_to_reconnect_a_client_resumes(server):
    async with running(server) as bot:
        await server.ask_to_reconnect()
        await server.wait_for(lambda s: s.resumes and bot.resumed)
        assert len(server.identifies) == 1


async def test_a_client_whose_heartbeats_are_not_answered_sees_it(server):
    server.heartbeat_interval, server.acknowledges = 20, False
    async with running(server) as bot:
        await asyncio.sleep(0.1)
        assert bot.latency == float("inf")


async def test_heartbeats(server):
    server.heartbeat_interval = 20
    async with running(server) as bot:
        await asyncio.sleep(0.1)
        assert bot.latency < 1


async def test_plain_client(server):
    async with discord.Client(intents=discord.Intents.default(), guild_ready_timeout=0.05) as client:
        task = asyncio.create_task(client.start(server.token))
        await server.wait_for(lambda s: client.is_ready())
        assert [g.id for g in client.guilds] == [server.guild_id]
        await client.close()
        await task


async def test_bad_token(server):
    with pytest.raises(discord.LoginFailure):
        async with Bot() as bot:
            await bot.start("wrong")
    assert server.calls[-1].status == 401 and server.identifies == []


async def test_bad_token_at_the_gateway(server):
    async with aiohttp.ClientSession() as session, session.ws_connect(server.gateway_url) as ws:
        assert (await ws.receive_json())["op"] == 10
        await ws.send_json({"op": 2, "d": {"token": "wrong", "intents": 0}})
        assert (await ws.receive()).data == 4004


async def test_missing_privileged_intent(server):
    intents = discord.Intents.default()
    intents.message_content = True
    with pytest.raises(discord.PrivilegedIntentsRequired):
        async with Bot(intents=intents) as bot:
            await asyncio.wait_for(bot.start(server.token), 5)


async def test_wait_for_says_what_it_saw(server):
    with pytest.raises(TimeoutError, match="not true within"):
        await server.wait_for(lambda s: s.connected, timeout=0.01)


async def test_discord_py_is_put_back():
    assert discord.http.Route.BASE == "https://discord.com/api/v10"
    assert discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY.host == "gateway.discord.gg"
