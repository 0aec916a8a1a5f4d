"""What the bot posts at Discord: once, quietly, with the buttons that belong to it."""

import asyncio
import time
from dataclasses import replace

import pytest
from discord_parts import asked, posted, receiving, sent
from discord_server import LOADING, SUPPRESS_EMBEDS, DiscordServer

from bots.adapter import nonce_of
from bots.errors import FileRefused, PlatformBusy, PlatformRefused, WrongToken
from bots.message import Attachment, Author, Change, Part, Reply
from bots.platforms.discord import DiscordSender
from engine.types import TextFile

HOSTILE = "@everyone @here <@1100000000000000012> <@&5> https://evil.example"


@pytest.fixture
async def server(monkeypatch):
    async with DiscordServer() as server:
        server.redirect(monkeypatch)
        yield server


@pytest.fixture
async def sender(server):
    sender = DiscordSender(server.token)
    yield sender
    await sender.close()


async def post(sender, message, text, part=0, *, is_retry=False, is_growing=False):
    nonce = nonce_of(message.id, part)
    return await sender.post(message, text, nonce=nonce, is_retry=is_retry, is_growing=is_growing)


async def question(server, text="how long?"):
    """A question that stands in the channel."""
    written = await server.say(server.channel_id, text, mention_bot=True)
    return asked(server, id=f"discord:{written['id']}", address={"message": written["id"]})


async def command(server, store):
    """A question that came as a slash command, and its interaction."""
    async with receiving(server, store) as received:
        await server.wait_for(lambda s: s.commands.get(None))
        interaction = await server.interact("ask", {"question": "how long?"})
        await server.wait_for(lambda s: received.messages)
    return received.messages[0], interaction


def buttons(message):
    return [button["custom_id"] for row in message["components"] for button in row["components"]]


async def test_a_growing_answer_has_a_stop_button_and_ends_with_what_belongs_to_it(server, sender):
    message = await question(server)
    ref = await post(sender, message, "30", is_growing=True)
    shown = server.messages[server.channel_id][-1]
    assert buttons(shown) == [f"frontdesk:stop:{message.id}:{server.user_id}"]
    await sender.edit(message, ref, "30 days", is_growing=True)
    assert len(buttons(shown)) == 1
    await sender.edit(message, ref, "30 days, or\n1. a\n2. b", is_growing=False)
    assert buttons(shown) == []
    for _ in range(2):
        await sender.finish(message, [Part(ref, shown["content"])], Reply("…", "ask_back"), ["a", "b"])
    assert buttons(shown) == [
        "frontdesk:option:1",
        "frontdesk:option:2",
        f"frontdesk:rate:up:{message.id}",
        f"frontdesk:rate:down:{message.id}",
    ]
    assert shown["message_reference"]["message_id"] == message.address["message"]
    assert shown["content"] == "30 days, or\n1. a\n2. b"


async def test_options_stand_below_their_list_and_feedback_below_the_last_part(server, sender):
    message = await question(server)
    refs = [await post(sender, message, text, part) for part, text in enumerate(["1. a\n2. b", "the rest"])]
    parts = [Part(refs[0], "1. a\n2. b"), Part(refs[1], "the rest")]
    await sender.finish(message, parts, Reply("…", "ask_back"), ["a", "b"])
    first, second = server.messages[server.channel_id][-2:]
    assert buttons(first) == ["frontdesk:option:1", "frontdesk:option:2"]
    assert [found.split(":")[2] for found in buttons(second)] == ["up", "down"]


@pytest.mark.parametrize(
    ("decision", "is_rated"),
    [("answer", True), ("hand_over", True), ("command", False), ("error", False), ("refuse", False)],
)
async def test_only_answers_are_rated(server, sender, decision, is_rated):
    message = await question(server)
    ref = await post(sender, message, "30 days")
    await sender.finish(message, [Part(ref, "30 days")], Reply("30 days", decision), [])
    assert bool(buttons(server.messages[server.channel_id][-1])) == is_rated


async def test_nothing_that_is_sent_pings_anybody_or_shows_a_preview(server, store, sender):
    message = await question(server)
    deferred, _ = await command(server, store)
    for each in (message, deferred):
        ref = await post(sender, each, HOSTILE, is_growing=True)
        await sender.edit(each, ref, HOSTILE + "!", is_growing=True)
        await sender.edit(each, ref, HOSTILE + "!!", is_growing=False)
        await post(sender, each, HOSTILE, 1)
        await sender.finish(each, [Part(ref, HOSTILE)], Reply(HOSTILE), [])
        await sender.post_file(each, TextFile("@everyone.txt", "x"), nonce="f" + each.id[-9:], is_retry=False)
    assert len(sent(server)) >= 10
    posts = [call for call in server.calls if call.files or call in sent(server)]
    assert all(call.json["allowed_mentions"]["parse"] == [] for call in posts)
    assert all(not call.json["allowed_mentions"].get("replied_user") for call in posts)
    shown = [m for m in server.messages[server.channel_id] if m["author"]["bot"]]
    assert [m["mentions"] for m in shown] == [[]] * 6 and not any(m["mention_everyone"] for m in shown)
    assert all(m["flags"] & SUPPRESS_EMBEDS for m in shown if m["content"])


async def test_a_retry_finds_its_parts_after_discord_has_forgotten_the_nonce(server, sender):
    message = await question(server)
    first = [await post(sender, message, text, part) for part, text in enumerate(["one", "two"])]
    file = TextFile("my notes.txt", "text")
    first.append(await sender.post_file(message, file, nonce="file", is_retry=False))
    await server.say(server.channel_id, "among people")
    other = await question(server)
    await post(sender, other, "not mine")
    server.clock = lambda: time.time() + 600
    late = replace(message, sent_at=time.time() - 600)
    again = [await post(sender, late, text, part, is_retry=True) for part, text in enumerate(["o", "t"])]
    again.append(await sender.post_file(late, file, nonce="file", is_retry=True))
    assert again == first
    third = await post(sender, late, "three", 2, is_retry=True)
    assert posted(server) == ["one", "two", "", "not mine", "three"]
    assert third == server.messages[server.channel_id][-1]["id"]


async def test_a_notice_answers_nothing_and_is_not_looked_for(server, sender):
    notice = asked(server, id="notice:1", notice="hello", sent_at=0.0)
    await post(sender, notice, "hello", is_retry=True)
    (shown,) = server.messages[server.channel_id]
    assert "message_reference" not in shown
    await sender.finish(notice, [Part(shown["id"], "hello")], Reply("hello"), [])
    assert buttons(shown) == []


async def test_an_answer_whose_question_is_gone_is_posted_all_the_same(server, sender):
    message = await question(server)
    await server.remove(server.messages[server.channel_id][0])
    await post(sender, message, "30 days")
    assert posted(server) == ["30 days"]


async def test_a_deferral_is_filled_and_further_parts_follow(server, store, sender):
    message, interaction = await command(server, store)
    ref = await post(sender, message, "30", is_growing=True)
    await sender.edit(message, ref, "30 days", is_growing=False)
    await post(sender, message, "and more", 1)
    await sender.finish(message, [Part(ref, "30 days")], Reply("30 days"), [])
    original = server.response(interaction).message
    assert (original["content"], len(buttons(original))) == ("30 days", 2)
    assert posted(server) == ["30 days", "and more"]


async def test_where_the_bot_is_no_member_further_parts_follow_the_deferral(server, store, sender):
    message, _ = await command(server, store)
    server.forbidden.add(server.channel_id)
    await post(sender, message, "one")
    second = await post(sender, message, "two", 1)
    await sender.edit(message, second, "two!", is_growing=False)
    await sender.finish(message, [Part(second, "two!")], Reply("two!"), [])
    assert posted(server) == ["one", "two!"]
    await sender.delete(message, second)
    await sender.delete(message, second)
    assert posted(server) == ["one"]


async def test_a_deferral_that_has_expired_is_answered_in_the_channel(server, store, sender):
    message, _ = await command(server, store)
    server.clock = lambda: time.time() + 16 * 60
    ref = await post(sender, message, "30")
    assert await post(sender, message, "30", is_retry=True) == ref
    await sender.edit(message, ref, "30 days", is_growing=False)
    assert posted(server) == ["30 days"]
    server.clock = lambda: time.time() + 32 * 60
    late = replace(message, sent_at=time.time() - 32 * 60)
    assert await post(sender, late, "30 days", is_retry=True) == ref


async def test_a_deferral_that_expires_while_it_is_filled_goes_on_in_the_channel(server, store, sender):
    message, interaction = await command(server, store)
    ref = await post(sender, message, "30")
    assert server.response(interaction).message["content"] == "30"
    server.clock = lambda: time.time() + 16 * 60
    await sender.edit(message, ref, "30 days", is_growing=True)
    await sender.edit(message, ref, "30 days, unopened", is_growing=True)
    assert posted(server) == ["30", "30 days, unopened"]
    assert len([call for call in server.calls if call.status == 401]) == 1
    taken_over = DiscordSender(server.token)  # another worker, which finds the stored ref
    await taken_over.edit(message, ref, "30 days, unopened, with receipt", is_growing=False)
    await taken_over.finish(message, [Part(ref, "30 days")], Reply("30 days"), [])
    await taken_over.close()
    assert posted(server) == ["30", "30 days, unopened, with receipt"]
    assert len(buttons(server.messages[server.channel_id][-1])) == 2


async def test_a_deferral_that_somebody_deleted_is_answered_in_the_channel(server, store, sender):
    message, interaction = await command(server, store)
    server.response(interaction).message = None
    await sender.edit(message, "@original", "30 days", is_growing=False)
    assert posted(server) == ["30 days"]


async def test_what_was_posted_is_taken_away_with_its_question(server, store, sender):
    message = await question(server)
    deferred, _ = await command(server, store)
    for each in (message, deferred):
        ref = await post(sender, each, "30 days")
        for _ in range(2):
            await sender.delete(each, ref)
    assert posted(server) == []


async def test_discords_refusals_mean_later_or_never(server, sender):
    message = asked(server)
    await post(sender, message, "hello")
    server.fail_next(503, path="/messages")
    with pytest.raises(PlatformBusy):
        await post(sender, message, "hello")
    server.fail_next(429, {"Via": "", "Retry-After": "7"}, path="/messages")  # a ban by Cloudflare
    with pytest.raises(PlatformBusy) as busy:
        await post(sender, message, "hello")
    assert busy.value.retry_after == 7
    server.fail_next(401, path="/messages")  # the token was reset: the answer waits for the new one
    with pytest.raises(PlatformBusy):
        await post(sender, message, "hello")
    for status in (400, 403, 404):
        server.fail_next(status, path="/messages")
        with pytest.raises(PlatformRefused):
            await post(sender, message, "hello")


@pytest.mark.parametrize("headers", [{}, {"X-RateLimit-Global": "true"}], ids=["bucket", "global"])
async def test_a_long_wait_is_told_with_its_length(server, sender, headers):
    server.fail_next(429, {"Retry-After": "45.5", **headers}, path="POST /channels")
    with pytest.raises(PlatformBusy) as busy:
        await post(sender, asked(server), "hello")
    assert busy.value.retry_after == 45.5


async def test_a_bucket_is_not_overdrawn(server, sender):
    server.limit("POST /channels", most=1, seconds=0.3)
    for part, text in enumerate(["one", "two"]):
        await post(sender, asked(server), text, part)
    assert posted(server) == ["one", "two"]
    assert 429 not in {call.status for call in server.calls}


async def test_while_one_channel_waits_another_is_served(server, sender):
    here = asked(server)
    elsewhere = replace(here, conversation=replace(here.conversation, channel=str(server.second_channel_id)))
    server.fail_next(429, {"Retry-After": "0.4"}, path=f"POST /channels/{server.channel_id}")
    waiting = asyncio.create_task(post(sender, here, "late"))
    await server.wait_for(lambda s: [call for call in s.calls if call.status == 429])
    await post(sender, elsewhere, "at once", 1)
    assert not waiting.done()
    await waiting
    assert (posted(server), posted(server, server.second_channel_id)) == (["late"], ["at once"])


async def test_a_post_whose_answer_was_lost_is_not_posted_twice(server, sender):
    server.fail_next(502, path="POST /channels", after=True)
    await post(sender, asked(server), "once")
    assert posted(server) == ["once"]


async def test_a_discord_that_is_down_is_tried_again(server, sender):
    server.fail_next(503, times=2, path="/users/@me")
    with pytest.raises(PlatformBusy):
        await sender.open()
    with pytest.raises(PlatformBusy):
        await sender.typing(asked(server))
    posts = [post(sender, asked(server), "hello") for _ in range(3)]
    assert len(set(await asyncio.gather(*posts))) == 1
    assert posted(server) == ["hello"]
    assert len([call for call in server.calls if call.path == "/users/@me"]) == 3


async def test_opening_may_be_cut_short(server, sender):
    opening = asyncio.create_task(sender.open())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait({opening})
    await post(sender, asked(server), "hello")
    assert posted(server) == ["hello"]


async def test_with_a_wrong_token_opening_fails_and_what_is_to_be_said_waits(server):
    sender = DiscordSender("wrong")
    with pytest.raises(WrongToken, match="FRONTDESK_DISCORD_TOKEN"):
        await sender.open()
    with pytest.raises(PlatformBusy, match="FRONTDESK_DISCORD_TOKEN"):
        await post(sender, asked(server), "hello")
    await sender.close()


async def test_files_come_and_go(server, sender):
    message = await question(server)
    await sender.post_file(message, TextFile("answer.txt", "30 days"), nonce="f", is_retry=False)
    (file,) = server.messages[server.channel_id][-1]["attachments"]
    assert await sender.fetch(message, Attachment("answer.txt", url=file["url"])) == b"30 days"
    with pytest.raises(FileRefused):
        await sender.fetch(message, Attachment("gone.txt", url=file["url"] + "x"))


async def test_an_author_without_a_name_is_looked_up(server, sender):
    nameless = asked(server, author=Author(str(server.user_id)))
    assert await sender.name_of(nameless) == "Customer"
    assert await sender.name_of(asked(server, author=Author("999"))) == ""
    assert await sender.name_of(asked(server)) == "Customer"


async def test_feedback_and_stop_work_after_a_restart(server, store, sender):
    message = await question(server)
    ref = await post(sender, message, "30 days", is_growing=True)
    shown = server.messages[server.channel_id][-1]
    async with receiving(server, store) as received:
        others = await server.click(shown, buttons(shown)[0], user_id=server.user_id + 50)
        await server.wait_for(lambda s: s.response(others).message)
        assert server.response(others).message["flags"] & 1 << 6
        mine = await server.click(shown, buttons(shown)[0])
        await server.wait_for(lambda s: received.changes)
        assert server.response(mine).callback["type"] == 6
    ((_, change),) = received.changes
    assert change == Change("stop", message.conversation, message.id, str(server.user_id))
    await sender.edit(message, ref, "30 days", is_growing=False)
    await sender.finish(message, [Part(ref, "30 days")], Reply("30 days"), [])
    async with receiving(server, store) as received:
        clicks = [await server.click(shown, custom_id) for custom_id in buttons(shown)]
        await server.wait_for(lambda s: len(received.ratings) == 2)
        told = [server.response(click).callback["data"] for click in clicks]
    assert {(r.message_id, r.is_helpful) for r in received.ratings} == {
        (message.id, True),
        (message.id, False),
    }
    assert received.ratings[0].conversation == message.conversation
    assert {(data["content"], data["flags"]) for data in told} == {("Thank you for telling me!", 1 << 6)}
    assert all(data["allowed_mentions"]["parse"] == [] for data in told)


async def test_anybody_may_stop_in_a_direct_message(server, store, sender):
    direct = await server.dm("how long?")
    async with receiving(server, store) as received:
        place = replace(asked(server).conversation, workspace="direct", channel=direct["channel_id"])
        message = replace(asked(server, id="discord:5", author=Author("5")), conversation=place)
        await post(sender, message, "30 days", is_growing=True)
        shown = server.messages[int(direct["channel_id"])][-1]
        await server.click(shown, buttons(shown)[0])
        await server.wait_for(lambda s: received.changes)
    assert received.changes[0][1].kind == "stop"


async def test_buttons_of_others_ask_nothing_and_are_acknowledged(server, store):
    async with receiving(server, store) as received:
        shown = await server.say(server.channel_id, "hello")
        row = [
            {"type": 2, "style": 1, "label": "x", "custom_id": name}
            for name in ("other", "frontdesk:option:7")
        ]
        shown["components"] = [{"type": 1, "components": row}]
        for custom_id in buttons(shown):
            click = await server.click(shown, custom_id)
            await server.wait_for(lambda s: s.response(click).callback)  # noqa: B023
    assert (received.messages, received.changes, received.ratings) == ([], [], [])
    assert not [m for m in server.messages[server.channel_id] if m["flags"] & LOADING]


async def test_a_post_is_found_behind_many_others(server, sender):
    message = await question(server)
    for _ in range(150):
        await server.say(server.channel_id, "among people")
    ref = await post(sender, message, "30 days")
    for _ in range(200):
        await server.say(server.channel_id, "among people")
    server.clock = lambda: time.time() + 600
    late = replace(message, sent_at=time.time() - 600)
    assert await post(sender, late, "30 days", is_retry=True) == ref
    assert posted(server) == ["30 days"]
    for _ in range(400):
        await server.say(server.channel_id, "among people")
    before = len(server.calls)
    assert await post(sender, late, "30 days", is_retry=True) == ref
    assert len(server.calls) - before == 5  # reading has bounds


async def test_what_stands_in_place_of_deferrals_has_bounds(server, sender, monkeypatch):
    monkeypatch.setattr("bots.platforms.discord.sender._MOST_IN_PLACE", 2)
    expired = {"application": str(server.bot_id), "token": "expired"}
    for number in range(4):
        message = asked(server, id=f"discord:{number}", address=expired)
        await sender.edit(message, "@original", f"{number}", is_growing=False)
    assert list(sender._in_place) == ["discord:2", "discord:3"]
    assert posted(server) == ["0", "1", "2", "3"]
