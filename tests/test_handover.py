"""People are called when a customer wants one: once, with the last turns, and the bot keeps out then."""

from dataclasses import replace

import pytest
from scripted import (
    ANNA,
    Leased,
    ScriptedEngine,
    ScriptedSender,
    conversation,
    message,
    until_answered,
    working,
)

from bots import keys
from bots.build import open_store
from bots.history import Turn
from bots.message import ConversationKey
from bots.settings import Settings
from engine.types import Outcome

CALLED = Outcome(decision="hand_over", wants_person=True)
OFFERED = Outcome(decision="hand_over")
MAIL = "jane.doe@mail.example"


class Linking(ScriptedSender):
    def link_to(self, message):
        return f"https://chat.example/{message.conversation.channel}"


@pytest.fixture
async def staffed(tmp_path, redis_url):
    async with open_store(
        Settings(data_dir=tmp_path / "data", staff_channel="discord:4711"), redis_url
    ) as store:
        yield store


@pytest.fixture
def sender():
    """The customer's platform, and the staff's in the same place."""
    return Linking()


async def ask(store, sender, *questions, outcome=CALLED, text="I will pass you on to a colleague."):
    engine = ScriptedEngine(text, outcome=outcome)
    async with working(store, engine, sender):
        for question in questions:
            await store.intake.receive(question)
            await until_answered(store)
    return engine


async def test_staff_gets_the_last_turns_without_sensitive_values(staffed, sender):
    earlier = [Turn("user", "Where is my parcel?", ANNA), Turn("assistant", "I do not know.", ANNA)]
    await staffed.history.append(conversation(), earlier)
    await ask(staffed, sender, message(f"A person, please. I am {MAIL}, see http://evil.example/x"))
    (notice,) = sender.texts("4711")
    assert notice.splitlines() == [
        "Anna asks for a person in https://chat.example/general. The last messages:",
        "> Anna: Where is my parcel?",
        "> Bot: I do not know.",
        "> Anna: A person, please. I am [email address], see (link removed)",
    ]
    assert sender.texts("general") == ["I will pass you on to a colleague."]


async def test_an_offer_calls_nobody(staffed, sender):
    await ask(staffed, sender, message(), outcome=OFFERED)
    assert sender.texts("4711") == []
    assert not await staffed.redis.exists(keys.handed_over(conversation()))


async def test_the_bot_keeps_out_of_what_people_see_to(staffed, sender):
    follow_up = message("Thanks, and you?", is_direct=False)
    engine = await ask(staffed, sender, message(), follow_up)
    assert len(engine.requests) == 1
    assert sender.texts("general") == ["I will pass you on to a colleague."]


async def test_who_speaks_to_the_bot_has_it_back(staffed, sender):
    await ask(staffed, sender, message())
    questions = [message("@bot how long?"), message("And how much?", is_direct=False)]
    engine = await ask(staffed, sender, *questions, outcome=Outcome(), text="Thirty days.")
    assert len(engine.requests) == 2
    assert len(sender.texts("4711")) == 1


async def test_in_private_the_bot_goes_on(staffed, sender):
    questions = [message(is_private=True), message("And?", is_private=True, is_direct=False)]
    engine = await ask(staffed, sender, *questions)
    assert len(engine.requests) == 2


async def test_staff_is_called_once_for_a_message(staffed, sender):
    question = message()
    for _ in range(3):
        await staffed.hand_over.call(question, "")
    assert await staffed.inbox.backlog() == 1


async def test_without_a_channel_the_operator_is_told(store, caplog):
    await store.hand_over.call(message(), "")
    assert "FRONTDESK_STAFF_CHANNEL" in caplog.text
    assert await store.inbox.backlog() == 0


async def test_staff_is_called_on_another_platform_too(staffed, sender):
    where = ConversationKey("test", "acme", "general", "")
    await staffed.hand_over.call(replace(message(), conversation=where), "")
    async with working(staffed, ScriptedEngine(), sender):
        await until_answered(staffed)
    assert len(sender.texts("4711")) == 1


async def test_staff_may_be_in_a_workspace_of_its_own(tmp_path, redis_url):
    settings = Settings(data_dir=tmp_path / "data", staff_channel="slack:T2/C7")
    async with open_store(settings, redis_url) as store:
        await store.hand_over.call(message(), "")
        (entry,) = await Leased(store).take()
    assert entry.content.conversation == ConversationKey("slack", "T2", "C7")
