"""The vault: one placeholder a value and author, and values only for those who gave them."""

import asyncio

from scripted import ANNA, BEN, conversation

from bots import keys
from bots.envelope import Envelope
from bots.vault import Vault
from engine.filter import find


async def assign(store, *values, author=ANNA, channel="general"):
    found = [(find(value)[0], value) for value in values]
    return await store.vault.placeholders(conversation(channel), author.id, found)


async def test_values_are_numbered_by_kind_in_order(store):
    assert await assign(store, "a@x.example", "4111 1111 1111 1111", "b@x.example") == [
        "<EMAIL_ADDRESS_1>",
        "<CREDIT_CARD_1>",
        "<EMAIL_ADDRESS_2>",
    ]


async def test_the_same_value_has_the_same_placeholder_however_it_is_written(store):
    assert await assign(store, "4111 1111 1111 1111", "4111-1111-1111-1111") == ["<CREDIT_CARD_1>"] * 2
    assert await assign(store, "4111111111111111") == ["<CREDIT_CARD_1>"]


async def test_the_same_value_of_two_authors_has_two_placeholders(store):
    assert await assign(store, "a@x.example", author=ANNA) == ["<EMAIL_ADDRESS_1>"]
    assert await assign(store, "a@x.example", author=BEN) == ["<EMAIL_ADDRESS_2>"]


async def test_every_conversation_counts_for_itself(store):
    assert await assign(store, "a@x.example", channel="a") == ["<EMAIL_ADDRESS_1>"]
    assert await assign(store, "b@x.example", channel="b") == ["<EMAIL_ADDRESS_1>"]
    assert await store.vault.values(conversation("b"), ANNA.id) == {"<EMAIL_ADDRESS_1>": "b@x.example"}


async def test_only_the_author_gets_values_back(store):
    await assign(store, "anna@x.example", author=ANNA)
    await assign(store, "ben@x.example", author=BEN)
    assert await store.vault.values(conversation(), ANNA.id) == {"<EMAIL_ADDRESS_1>": "anna@x.example"}
    assert await store.vault.values(conversation(), BEN.id) == {"<EMAIL_ADDRESS_2>": "ben@x.example"}
    assert await store.vault.values(conversation(), "somebody else") == {}


async def test_values_assigned_at_the_same_time_have_numbers_of_their_own(store):
    given = await asyncio.gather(*(assign(store, f"user{number}@x.example") for number in range(40)))
    assert {placeholder for (placeholder,) in given} == {f"<EMAIL_ADDRESS_{n}>" for n in range(1, 41)}
    values = await store.vault.values(conversation(), ANNA.id)
    assert {values[placeholder] for (placeholder,) in given} == {f"user{n}@x.example" for n in range(40)}


async def test_forgetting_takes_one_authors_values_and_no_number_is_used_again(store):
    await assign(store, "anna@x.example", author=ANNA)
    await assign(store, "ben@x.example", author=BEN)
    await store.vault.forget(conversation(), ANNA.id)
    assert await store.vault.values(conversation(), ANNA.id) == {}
    assert await store.vault.values(conversation(), BEN.id) == {"<EMAIL_ADDRESS_2>": "ben@x.example"}
    assert await assign(store, "new@x.example") == ["<EMAIL_ADDRESS_3>"]


async def test_a_value_that_is_given_again_after_forgetting_comes_back_again(store):
    await assign(store, "anna@x.example")
    await store.vault.forget(conversation(), ANNA.id)
    (placeholder,) = await assign(store, "anna@x.example")
    assert await store.vault.values(conversation(), ANNA.id) == {placeholder: "anna@x.example"}


async def test_a_value_sealed_with_another_key_is_left_out(store):
    other = Vault(store.redis, Envelope(b"another key, also 32 bytes long.."), 90)
    await other.placeholders(conversation(), ANNA.id, [(find("old@x.example")[0], "old@x.example")])
    (placeholder,) = await assign(store, "new@x.example")
    assert await store.vault.values(conversation(), ANNA.id) == {placeholder: "new@x.example"}


async def test_values_go_with_the_retention_time(store):
    await assign(store, "anna@x.example")
    seconds = await store.redis.ttl(f"frontdesk:vault:{conversation()}")
    assert 89 * 24 * 3600 < seconds <= 90 * 24 * 3600


async def test_values_not_given_for_longer_than_the_retention_time_are_purged(store):
    [old] = await give(store, "old@mail.example")
    [new] = await give(store, "new@mail.example")
    await store.redis.hset(keys.vault(conversation()), f"t:{old}", 1)
    assert await store.vault.purge() == 1
    assert set(await store.vault.values(conversation(), ANNA.id)) == {new}
    assert await give(store, "old@mail.example") != [old]


async def test_values_given_in_commands_alone_are_forgotten_too(store):
    """There is no history of them that would lead there."""
    await give(store, "jane@mail.example")
    await store.privacy.forget(conversation("elsewhere"), ANNA.id)
    assert await store.vault.values(conversation(), ANNA.id) == {}


async def give(store, value):
    return await store.vault.placeholders(conversation(), ANNA.id, [(find(value)[0], value)])
