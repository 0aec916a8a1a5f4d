"""How far conversations were read."""

import pytest

from bots import marks as module
from bots.marks import Marks
from bots.message import ConversationKey

HERE, THERE = (ConversationKey("discord", "1", channel) for channel in ("7:odd", "8"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Marks are written with each message."""
    monkeypatch.setattr(module, "LAG_SECONDS", 0.0)


async def test_a_mark_goes_forward_and_never_back(store):
    marks = Marks(store.redis, "discord")
    for message_id in ("999", "1000", "998", "1000"):
        await marks.advance(HERE, message_id)
    assert await marks.all() == {HERE: "1000"}


async def test_the_most_recent_come_first_and_platforms_are_apart(store):
    marks, other = Marks(store.redis, "discord"), Marks(store.redis, "slack")
    await marks.advance(HERE, "99")
    await marks.advance(THERE, "100")
    await other.advance(HERE, "1700000000.000200")
    await other.advance(HERE, "1700000000.000100")
    assert list(await marks.all()) == [THERE, HERE]
    assert await other.all() == {HERE: "1700000000.000200"}


async def test_only_where_the_bot_was_addressed_there_is_a_mark(store):
    marks = Marks(store.redis, "discord")
    await marks.advance(HERE, "1")
    assert await marks.has(HERE) and not await marks.has(THERE)
    await marks.drop(HERE)
    assert not await marks.has(HERE)


async def test_a_mark_that_was_written_lately_may_lie_behind(store, monkeypatch):
    monkeypatch.setattr(module, "LAG_SECONDS", 60.0)
    marks = Marks(store.redis, "discord")
    for message_id in ("1", "2"):
        await marks.advance(HERE, message_id)
    assert await marks.all() == {HERE: "1"}
    await marks.drop(HERE)
    await marks.advance(HERE, "3")
    assert await marks.all() == {HERE: "3"}
