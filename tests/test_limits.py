"""How much is answered at most, and that its author hears of it once."""

import pytest
from scripted import ANNA, BEN, ScriptedEngine, ScriptedSender, message, until, until_answered, working

from bots import keys
from bots.build import open_store
from bots.settings import Settings
from engine.types import Outcome, Usage


@pytest.fixture
def limited(tmp_path, redis_url):
    """A store under these limits alone."""

    def opened(**limits):
        none = dict.fromkeys(["person", "channel", "workspace", "tokens", "queue"], 0)
        given = {f"limit_{name}": most for name, most in (none | limits).items()}
        return open_store(Settings(data_dir=tmp_path / "data", **given), redis_url)

    return opened


async def answers(store, messages, engine=None):
    """What is to be seen after these messages, and how many reached the engine."""
    engine, sender = engine or ScriptedEngine("Yes."), ScriptedSender()
    async with working(store, engine, sender):
        for one in messages:
            await store.intake.receive(one)
        await until_answered(store)
    return sender.texts(), len(engine.requests)


async def test_one_who_floods_is_told_once_and_others_are_answered(limited):
    async with limited(person=3) as store:
        flood = [message(f"question {number}") for number in range(50)]
        texts, asked = await answers(store, [*flood, message(author=BEN)])
        assert asked == 4
        assert sorted(texts) == sorted(
            [*["Yes."] * 4, "You write faster than I can answer. Please wait a minute."]
        )
        assert int(await store.redis.hget(keys.COUNTERS, "told")) == 1
        assert int(await store.redis.hget(keys.COUNTERS, "dropped")) == 46


async def test_a_message_delivered_again_counts_once(limited):
    async with limited(person=1) as store:
        texts, _ = await answers(store, [message(id="test:1")] * 5)
        assert texts == ["Yes."]


@pytest.mark.parametrize(
    ("limit", "channels", "told"),
    [("channel", "aaaaaa", "too many messages here"), ("workspace", "abcdcd", "Too many people are asking")],
)
async def test_a_channel_and_a_workspace_have_limits_too(limited, limit, channels, told):
    async with limited(**{limit: 2}) as store:
        authors = [ANNA, BEN] * 3
        asked = [
            message(channel=channel, author=author) for channel, author in zip(channels, authors, strict=True)
        ]
        texts, requests = await answers(store, asked)
        assert requests == 2
        assert len([text for text in texts if told in text]) == 2  # each of two people, once
        assert len(texts) == 4


async def test_the_tokens_of_a_day(limited):
    engine = ScriptedEngine("Yes.", outcome=Outcome(usage=Usage(80, 20)))
    async with limited(tokens=150) as store:
        sender = ScriptedSender()
        async with working(store, engine, sender):
            for number in range(5):
                await store.intake.receive(message(f"question {number}"))
                await until_answered(store)
        assert len(engine.requests) == 2
        assert sender.texts()[2:] == [
            "I have answered as much as I may today. Please try again tomorrow, or ask for a colleague."
        ]


async def test_tokens_used_up_while_a_message_waited_count_when_its_turn_comes(limited):
    engine = ScriptedEngine("Yes.", outcome=Outcome(usage=Usage(80, 20)))
    async with limited(tokens=150) as store:
        for number in range(4):
            await store.intake.receive(message(f"question {number}"))
        texts, asked = await answers(store, [], engine)
        assert (asked, texts[:2]) == (2, ["Yes."] * 2)
        assert ["as much as I may today" in text for text in texts[2:]] == [True] * 2


async def test_a_queue_that_is_full(limited):
    async with limited(queue=3) as store:
        for number in range(10):
            await store.intake.receive(message(f"question {number}"))
        assert await store.inbox.backlog() == 4
        texts, asked = await answers(store, [])
        assert asked == 3
        assert "Too many questions are waiting" in texts[-1]


async def test_a_limit_lasts_a_minute(limited):
    async with limited(person=1) as store:
        await store.intake.receive(message())
        (key,) = await store.redis.keys("frontdesk:limit:person:*")
        assert 50 < await store.redis.ttl(key) <= 60
        assert b"Anna" not in key


async def test_what_the_bot_says_by_itself_has_no_limit(limited):
    async with limited(person=1, channel=1, workspace=1) as store:
        texts, _ = await answers(store, [message(notice=f"notice {number}") for number in range(5)])
        assert len(texts) == 5


async def test_commands_count_as_messages(limited):
    async with limited(person=1) as store:
        sender = ScriptedSender()
        async with working(store, ScriptedEngine(), sender):
            for _ in range(3):
                await store.intake.receive(message("/help"))
            await until(lambda: len(sender.texts()) == 2)
