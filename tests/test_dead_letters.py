"""Messages that were given up: looked at, tried again exactly once, dropped, forgotten with their author."""

import asyncio
import json
import os
import time

import pytest
from scripted import ANNA, BEN, ScriptedEngine, ScriptedSender, message, until_answered, working
from typer.testing import CliRunner

from bots import keys
from bots.build import open_store
from bots.dead_letters import DeadLetters
from bots.dead_letters_cli import dead_letters
from bots.envelope import Envelope
from bots.errors import Undecipherable
from bots.message import Message
from bots.partitions import partition_of
from bots.settings import Settings


@pytest.fixture
def letters(store):
    return DeadLetters(store.redis, store.envelope, 90)


async def bury(store, dead, reason="too many attempts"):
    """Add a letter as `Inbox.bury` does; its id."""
    author = store.envelope.author_index(dead.conversation, dead.author.id)
    sealed = store.envelope.seal(dead.to_json(), "inbox")
    added = await store.redis.xadd(keys.DEAD_LETTERS, {"m": sealed, "reason": reason, "a": author, "n": 6})
    return added.decode()


async def left(store):
    return await store.redis.xlen(keys.DEAD_LETTERS)


async def test_forgetting_takes_the_authors_letters_and_leaves_the_others(store):
    for author in (ANNA, BEN):
        await bury(store, message("secret question", author=author))
    assert await store.privacy.forget(message().conversation, ANNA.id) == 1
    assert await left(store) == 1


async def test_the_purge_drops_what_is_older_than_the_retention_time(store):
    await store.redis.xadd(keys.DEAD_LETTERS, {"m": b"sealed"}, id="1-1")
    await bury(store, message())
    assert await store.privacy.purge() == 1
    assert await left(store) == 1


async def test_they_are_listed_oldest_first_without_those_that_come_meanwhile(store, letters):
    dead = [message(f"question {number}") for number in range(250)]
    ids = [await bury(store, each) for each in dead]
    found = []
    async for letter in letters.list():
        found.append(letter)
        if len(found) == 1:
            await bury(store, message("later"))
    assert [letter.id for letter in found] == ids
    assert [letter.message for letter in found] == dead
    assert abs(found[0].buried_at - time.time()) < 60


async def test_one_is_shown_by_its_id_and_by_nothing_else(store, letters):
    letter_id = await bury(store, message("hello"), "no such channel")
    found = await letters.show(letter_id)
    assert (found.message.text, found.reason, found.attempts) == ("hello", "no such channel", 6)
    for wrong in ("1-1", letter_id.partition("-")[0], "-", "+", "", "x", f"({letter_id}", "٣-٣"):
        assert await letters.show(wrong) is None
        assert not await letters.drop(wrong)
    assert await left(store) == 1


class Hesitant(DeadLetters):
    """Looks at a letter, and goes on when everybody has looked."""

    def __init__(self, store, everybody):
        super().__init__(store.redis, store.envelope, 90)
        self._everybody = everybody

    async def show(self, letter_id):
        found = await super().show(letter_id)
        await self._everybody.wait()
        return found


async def test_two_who_replay_one_letter_make_one_entry(store, settings, redis_url):
    dead = message(channel="elsewhere")
    assert await store.intake.receive(dead)
    partition = keys.inbox(partition_of(dead.conversation))
    await store.redis.delete(partition)  # as if it had been taken and given up
    await store.redis.hset(keys.turn(dead.id), mapping={"attempts": 6, "tries": 6, "ref:0": "old"})
    claimed = await store.redis.ttl(keys.claim(dead.id))
    letter_id = await bury(store, dead)
    both_looked = asyncio.Barrier(2)
    async with open_store(settings, redis_url) as other:
        operators = [Hesitant(found, both_looked) for found in (store, other)]
        done = await asyncio.gather(*(operator.replay(letter_id) for operator in operators))
    assert sorted(done) == [False, True]
    [(_, entry)] = await store.redis.xrange(partition)
    assert entry[b"p"] == b"test"
    assert Message.from_json(store.envelope.open(entry[b"m"], "inbox")) == dead
    assert await left(store) == 0
    # The turn has its attempts back, and still knows that something may have been posted.
    assert await store.redis.hgetall(keys.turn(dead.id)) == {b"tries": b"1"}
    assert 0 < await store.redis.ttl(keys.claim(dead.id)) <= claimed
    assert not await store.intake.receive(dead)


async def test_what_was_given_up_is_answered_once_after_a_replay(store, letters):
    sender, dead = ScriptedSender(), message("Where is it?")
    async with working(store, ScriptedEngine(lambda request: RuntimeError("poison")), sender):
        await store.intake.receive(dead)
        await until_answered(store)
    [sorry] = sender.texts()
    [letter] = [letter async for letter in letters.list()]
    assert letter.message.id == dead.id
    async with working(store, ScriptedEngine("On its way."), sender):
        assert await letters.replay(letter.id)
        await until_answered(store)
    # Posted under the same nonce as the apology, which a platform would otherwise take for the answer.
    assert sender.texts() == ["On its way."]
    assert sorry in sender.shown
    assert await left(store) == 0


async def test_a_replay_answers_what_exceeded_a_limit_then(store, letters):
    letter_id = await bury(store, message(over="person"))
    assert await letters.replay(letter_id)
    [entry] = [entry for stream in keys.all_inboxes() for entry in await store.redis.xrange(stream)]
    assert Message.from_json(store.envelope.open(entry[1][b"m"], "inbox")).over is None


async def test_what_does_not_open_with_this_key_stays_and_says_so(store, letters):
    other = Envelope(os.urandom(32))
    sealed = other.seal(message().to_json(), "inbox")
    letter_id = (await store.redis.xadd(keys.DEAD_LETTERS, {"m": sealed, "reason": "x"})).decode()
    found = await letters.show(letter_id)
    assert found.message is None
    assert "another master key" in found.problem
    with pytest.raises(Undecipherable, match="another master key"):
        await letters.replay(letter_id)
    assert await left(store) == 1


@pytest.fixture
def command(redis_url, monkeypatch, tmp_path):
    """Run `frontdesk dead-letters …`: its exit status and what it printed."""
    monkeypatch.setenv("FRONTDESK_REDIS_URL", redis_url)
    monkeypatch.setenv("FRONTDESK_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments, typed=None):
        result = CliRunner().invoke(dead_letters, list(arguments), input=typed)
        return result.exit_code, result.output

    return run


@pytest.fixture
def buried(redis_url, tmp_path):
    """Bury messages from outside of an event loop: their letters' ids."""

    def add(*dead):
        async def main():
            settings = Settings(data_dir=tmp_path / "data")
            async with open_store(settings, redis_url) as store:
                return [await bury(store, each, "no such channel") for each in dead]

        return asyncio.run(main())

    return add


def test_the_list_says_where_and_why_but_not_what(command, buried):
    [letter_id] = buried(message("Where is my secret parcel?"))
    status, said = command("list")
    assert status == 0
    assert all(
        part in said
        for part in (letter_id, "test:acme:general", "6 attempts", "no such channel", "1 dead letters")
    )
    assert "parcel" not in said
    [row] = json.loads(command("list", "--json")[1])
    assert (row["id"], row["platform"], row["reason"]) == (letter_id, "test", "no such channel")


def test_a_letter_is_shown_whole_but_for_what_opens_doors(command, buried):
    text = "My card is <CARD_1>\nand \x1b[2Jthis is red"
    address = {"channel": "general", "interaction_token": "aW50ZXJhY3Rpb24", "response_url": "https://x/1"}
    [letter_id] = buried(message(text, address=address))
    status, said = command("show", letter_id)
    assert status == 0
    assert "My card is <CARD_1>\n" in said
    assert "\x1b" not in said
    assert "general" in said
    found = json.loads(command("show", letter_id, "--json")[1])["message"]
    assert (found["text"], found["author"]["name"]) == (text, "Anna")
    for shown in (said, json.dumps(found)):
        assert "aW50ZXJhY3Rpb24" not in shown
        assert "https://x/1" not in shown


def test_an_unknown_id_is_named_and_stops_no_other(command, buried):
    [letter_id] = buried(message())
    for action in ("show", "replay"):
        status, said = command(action, "1-1")
        assert status == 1
        assert "no dead letter 1-1" in said
    status, said = command("replay", "1-1", letter_id, letter_id)
    assert status == 1
    assert "1 of 2 put back into the inbox" in said
    assert "0 dead letters" in command("list")[1]


def test_letters_are_deleted_only_after_a_yes(command, buried):
    first, *_ = buried(message(), message(), message())
    assert command("drop", first, typed="n\n")[0] == 1
    assert "3 dead letters" in command("list")[1]
    assert command("drop", first, typed="y\n")[0] == 0
    assert "2 dead letters" in command("list")[1]
    assert "2 of 2 deleted" in command("drop", "--all", "--yes")[1]
    assert command("list") == (0, "0 dead letters\n")


@pytest.mark.parametrize("action", ["replay", "drop"])
def test_either_ids_or_all_must_be_said(command, action):
    assert command(action)[0] == command(action, "1-1", "--all")[0] == 2
