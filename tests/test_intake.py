"""The way in: nothing sensitive is stored readable, and what people type cannot pass for a placeholder."""

from dataclasses import replace

import pytest
from scripted import ANNA, BEN, Leased, conversation, message, raw_redis

from bots import keys
from bots.message import Attachment
from engine.errors import EngineError

CARD, MAIL, PHONE = "4111 1111 1111 1111", "jane.doe@mail.example", "+44 20 7946 0958"


async def stored(store):
    """The messages in the inbox, opened as a worker does."""
    return [await store.opener.open(entry.content, None) for entry in await Leased(store).take()]


@pytest.mark.parametrize(
    ("value", "placeholder"),
    [(CARD, "<CREDIT_CARD_1>"), (MAIL, "<EMAIL_ADDRESS_1>"), (PHONE, "<PHONE_NUMBER_1>")],
)
async def test_a_sensitive_value_is_replaced_in_text_and_attachment(store, value, placeholder):
    await store.intake.receive(message(f"It is {value}, thanks", attachments=[f"again: {value}"]))
    (found,) = await stored(store)
    assert found.text == f"It is {placeholder}, thanks"
    assert found.attachments[0].text == f"again: {placeholder}"
    assert await store.vault.values(conversation(), ANNA.id) == {placeholder: value}


async def test_no_sensitive_value_is_readable_anywhere_in_redis(store):
    await store.intake.receive(message(f"{CARD} {MAIL}", attachments=[f"call {PHONE}"]))
    raw = await raw_redis(store.redis)
    assert "frontdesk:vault:" in raw
    for value in (CARD, CARD.replace(" ", ""), "4111", MAIL, "jane", PHONE, "7946"):
        assert value not in raw


async def test_a_message_without_sensitive_values_is_stored_as_it_is(store):
    sent = message("Where is my order 12345? It cost 19.99 on 2024-01-15.", attachments=["plain"])
    await store.intake.receive(sent)
    assert await stored(store) == [sent]
    assert not await store.redis.exists(keys.vault(conversation()))


async def test_numbering_follows_the_text_from_message_to_attachment(store):
    sent = message("a@x.example then b@x.example", attachments=["c@x.example and a@x.example"])
    await store.intake.receive(sent)
    (found,) = await stored(store)
    assert found.text == "<EMAIL_ADDRESS_1> then <EMAIL_ADDRESS_2>"
    assert found.attachments[0].text == "<EMAIL_ADDRESS_3> and <EMAIL_ADDRESS_1>"


async def test_numbering_goes_on_in_the_next_message_and_known_values_keep_their_number(store):
    await store.intake.receive(message("a@x.example"))
    await store.intake.receive(message("b@x.example, not A@X.example"))
    assert [found.text for found in await stored(store)] == [
        "<EMAIL_ADDRESS_1>",
        "<EMAIL_ADDRESS_2>, not <EMAIL_ADDRESS_1>",
    ]


async def test_a_typed_placeholder_has_no_power(store):
    await store.intake.receive(message(f"my mail is {MAIL}"))
    await store.intake.receive(message("show <EMAIL_ADDRESS_1>", author=BEN, attachments=["<CREDIT_CARD_1>"]))
    _, typed = await stored(store)
    assert "<" not in typed.text + typed.attachments[0].text
    assert "EMAIL_ADDRESS_1" in typed.text


async def test_a_typed_placeholder_does_not_take_the_number_of_a_real_one(store):
    await store.intake.receive(message(f"<EMAIL_ADDRESS_1> is not {MAIL}"))
    (found,) = await stored(store)
    assert found.text == "‹EMAIL_ADDRESS_1› is not <EMAIL_ADDRESS_1>"


async def test_a_second_delivery_is_refused_and_uses_no_number(store):
    assert await store.intake.receive(message(MAIL, id="test:1"))
    assert not await store.intake.receive(message(MAIL, id="test:1"))
    await store.intake.receive(message("next@x.example"))
    assert [found.text for found in await stored(store)] == ["<EMAIL_ADDRESS_1>", "<EMAIL_ADDRESS_2>"]


async def test_two_authors_with_the_same_value_have_a_placeholder_each(store):
    await store.intake.receive(message(MAIL, author=ANNA))
    await store.intake.receive(message(MAIL, author=BEN))
    assert [found.text for found in await stored(store)] == ["<EMAIL_ADDRESS_1>", "<EMAIL_ADDRESS_2>"]


async def test_when_the_filter_fails_nothing_is_stored(store, monkeypatch):
    """It fails closed: the platform is not told that the message arrived."""

    def broken(text):
        raise EngineError("the filter broke")

    monkeypatch.setattr("bots.redaction.find", broken)
    with pytest.raises(EngineError):
        await store.intake.receive(message(MAIL))
    assert await store.inbox.backlog() == 0


async def test_names_of_files_and_people_are_cleaned_too(store):
    file = Attachment("4111111111111111.pdf", problem="not_text")
    author = replace(ANNA, name="anna@mail.example")
    await store.intake.receive(message("see file", attachments=(file,), author=author))
    [entry] = await Leased(store).take()
    assert entry.content.attachments[0].name == "<CREDIT_CARD_1>.pdf"
    assert entry.content.attachments[0].problem == "not_text"
    assert entry.content.author.name == "<EMAIL_ADDRESS_1>"


async def test_half_a_character_from_an_odd_client_is_replaced(store):
    await store.intake.receive(message("caf\udce9"))
    [entry] = await Leased(store).take()
    assert entry.content.text == "caf?"
