"""Showing a reply while it grows: one post a part, edits only, and values only where nobody reads along."""

import asyncio

import pytest
from scripted import ANNA, BEN, Leased, ScriptedSender, conversation, message

import bots.delivery
from bots import keys
from bots.delivery import Delivery
from bots.errors import PlatformBusy, PlatformRefused
from bots.message import Provisional, Reply
from engine.filter import find
from engine.types import Citation, Progress

LONG = "Returns are free within thirty days of delivery, and we pay the postage."
MAIL = "jane.doe@mail.example"


async def open_delivery(store, sender, question):
    record = await Leased(store).record(question)
    await store.redis.delete(keys.WORKERS)  # the next lease may be taken at once
    delivery = Delivery(
        sender, store.vault, store.known_links, record, question, await record.begin(), confirm=nothing_lost
    )
    await delivery.begin()
    return delivery


async def nothing_lost():
    """The lease is ours."""


async def stream(delivery, text, step=5):
    """Show `text` as it grows, then as the whole reply."""
    for end in range(step, len(text), step):
        await delivery.show(text[:end])
    await delivery.finish(Reply(text))


async def give_value(store, author=ANNA, value=MAIL):
    return (await store.vault.placeholders(conversation(), author.id, [(find(value)[0], value)]))[0]


async def test_a_growing_answer_is_one_post_that_is_edited(store):
    sender = ScriptedSender()
    await stream(await open_delivery(store, sender, message()), LONG)
    assert sender.texts() == [LONG]
    assert len(sender.shown) > 5
    assert all(LONG.startswith(text) for text in sender.shown)
    assert len(sender.shown[0]) >= 20


async def test_a_short_answer_is_posted_once_and_not_edited(store):
    sender = ScriptedSender()
    await stream(await open_delivery(store, sender, message()), "Yes, you can.")
    assert sender.shown == ["Yes, you can."]


async def test_edits_keep_the_distance_that_the_platform_asks_for(store):
    sender = ScriptedSender()
    sender.edit_seconds = 60
    delivery = await open_delivery(store, sender, message())
    await delivery.show(LONG)
    assert sender.shown == []  # a quick answer is shown when it is whole
    await asyncio.sleep(bots.delivery._QUICK)
    await stream(delivery, LONG)
    assert len(sender.shown) == 2  # the first part, and the whole


async def test_the_same_text_is_not_sent_again(store):
    sender = ScriptedSender()
    delivery = await open_delivery(store, sender, message())
    for _ in range(3):
        await delivery.show(f"{LONG} ")
    assert sender.shown == [LONG]
    await delivery.finish(Reply(LONG))
    await delivery.finish(Reply(LONG))
    assert sender.shown == [LONG, LONG]  # that it is whole now has to be said, once


async def test_a_long_answer_is_one_post_a_part_and_each_part_is_only_edited(store):
    sender = ScriptedSender()
    sender.limit = 100
    text = " ".join(f"word{number}" for number in range(80))
    await stream(await open_delivery(store, sender, message()), text)
    assert " ".join(sender.texts()) == text
    assert len(sender.texts()) > 4
    assert all(len(part) <= 100 for part in sender.texts())


async def test_the_ids_of_the_posts_are_stored_at_once(store):
    sender, question = ScriptedSender(), message()
    sender.limit = 100
    delivery = await open_delivery(store, sender, question)
    await delivery.show("word " * 50)
    state = await (await Leased(store).record(question)).begin()
    assert state.refs == {number: str(number) for number in range(len(sender.texts()))}


async def test_a_later_attempt_edits_the_posts_of_the_first_instead_of_posting(store):
    sender, question = ScriptedSender(once_only=False), message()
    await (await open_delivery(store, sender, question)).show(LONG[:40])
    await stream(await open_delivery(store, sender, question), LONG)
    assert sender.texts() == [LONG]


async def test_an_attempt_that_lost_the_id_posts_under_the_same_nonce_and_then_edits(store):
    sender = ScriptedSender(faults={"posted": [ConnectionResetError()]})
    question = message()
    with pytest.raises(ConnectionResetError):
        await (await open_delivery(store, sender, question)).show("An older text, from the first attempt.")
    await (await open_delivery(store, sender, question)).finish(Reply(LONG))
    assert sender.texts() == [LONG]


async def test_parts_and_messages_have_nonces_of_their_own(store):
    sender = ScriptedSender()
    sender.limit = 50
    for _ in range(2):
        await (await open_delivery(store, sender, message())).finish(Reply(LONG))
    nonces = [post["nonce"] for post in sender._state["posts"]]
    assert len(nonces) == len(set(nonces)) == 4
    assert all(len(nonce) <= 25 for nonce in nonces)


async def test_a_busy_platform_is_the_workers_affair(store):
    sender = ScriptedSender(faults={"post": [PlatformBusy("later")]})
    with pytest.raises(PlatformBusy):
        await (await open_delivery(store, sender, message())).finish(Reply(LONG))


async def test_in_private_the_author_sees_the_own_values(store):
    placeholder = await give_value(store)
    sender = ScriptedSender()
    delivery = await open_delivery(store, sender, message(is_private=True))
    await stream(delivery, f"We will write to {placeholder} today, at the latest tomorrow.", step=1)
    assert sender.texts() == [f"We will write to {MAIL} today, at the latest tomorrow."]


async def test_where_others_read_along_values_are_masked(store):
    placeholder = await give_value(store)
    sender = ScriptedSender()
    delivery = await open_delivery(store, sender, message(is_private=False))
    await stream(delivery, f"We will write to {placeholder} today, at the latest tomorrow.", step=1)
    assert sender.texts() == ["We will write to [email address] today, at the latest tomorrow."]
    assert not [text for text in sender.shown if MAIL in text]


async def test_nobody_sees_the_values_of_another_author(store):
    placeholder = await give_value(store, author=BEN)
    sender = ScriptedSender()
    delivery = await open_delivery(store, sender, message(is_private=True, author=ANNA))
    await delivery.finish(Reply(f"It is {placeholder}."))
    assert sender.texts() == ["It is [email address]."]


@pytest.mark.parametrize("is_private", [True, False])
async def test_half_a_placeholder_is_never_shown(store, is_private):
    placeholder = await give_value(store)
    sender = ScriptedSender()
    text = f"One address is {placeholder}, and again {placeholder}: that is all there is."
    await stream(await open_delivery(store, sender, message(is_private=is_private)), text, step=1)
    assert len(sender.shown) > 8
    assert not [shown for shown in sender.shown if "<" in shown or "EMAIL" in shown]


async def test_a_less_than_sign_holds_nothing_back_for_long(store):
    sender = ScriptedSender()
    text = "It holds if a < b " + "and all the rest of this sentence is there to be read today"
    delivery = await open_delivery(store, sender, message())
    await delivery.show(text)
    assert sender.shown[0].endswith("to be read")


@pytest.mark.parametrize("text", [" \n" * 15, "<a-tag-that-is-not-closed-yet"])
async def test_nothing_is_posted_while_there_is_nothing_to_see(store, text):
    sender = ScriptedSender()
    delivery = await open_delivery(store, sender, message())
    await delivery.show(text)
    assert sender.shown == []


@pytest.mark.parametrize(
    ("headings", "lines"),
    [
        ([], ""),
        (["Returns"], "\n\nSource: Returns (help.md)"),
        (["Returns", "Postage"], "\n\nSources:\n- Returns (help.md)\n- Postage (help.md)"),
    ],
)
async def test_sources_stand_below_the_text(store, headings, lines):
    sender = ScriptedSender()
    sender.shows_citations = False
    citations = tuple(Citation("help.md", heading, 0, 4, "text") for heading in headings)
    await (await open_delivery(store, sender, message())).finish(Reply(LONG, citations=citations))
    assert sender.texts() == [LONG + lines]


async def test_a_platform_that_shows_sources_itself_gets_none_in_the_text(store):
    sender = ScriptedSender()
    reply = Reply(LONG, citations=(Citation("help.md", "Returns", 0, 4, "text"),))
    await (await open_delivery(store, sender, message())).finish(reply)
    assert sender.texts() == [LONG]


async def test_a_vault_sealed_with_another_key_only_masks(store):
    """After a change of the master key, people are still answered."""
    placeholder = await give_value(store)
    await store.redis.hset(f"frontdesk:vault:{conversation()}", f"v:{placeholder}", b"\x01anotherkeysbytes")
    sender = ScriptedSender()
    delivery = await open_delivery(store, sender, message(is_private=True))
    await delivery.finish(Reply(f"It is {placeholder}."))
    assert sender.texts() == ["It is [email address]."]


async def test_a_busy_platform_costs_a_glimpse_and_not_the_answer(store):
    """An edit on the way is refused: what follows and the end are shown all the same."""
    sender = ScriptedSender(faults={"edit": [PlatformBusy("slow down", retry_after=0.05)]})
    await stream(await open_delivery(store, sender, message()), LONG)
    assert sender.texts() == [LONG]


async def test_a_shorter_reply_made_again_leaves_no_old_part_standing(store):
    sender, question = ScriptedSender(), message()
    sender.limit = 60
    await (await open_delivery(store, sender, question)).finish(Reply(LONG))
    assert len(sender.texts()) == 2
    await (await open_delivery(store, sender, question)).finish(Reply("Returns are free."))
    assert sender.texts() == ["Returns are free.", "(see above)"]


async def test_a_quotation_from_a_file_is_named_by_its_lines(store):
    sender = ScriptedSender()
    sender.shows_citations = False
    one, several = (
        Citation("lease.txt", "", 0, 5, "quote", first_line=12, last_line=last) for last in (12, 14)
    )
    for citation, place in ((one, "lease.txt, line 12"), (several, "lease.txt, lines 12 to 14")):
        delivery = await open_delivery(store, sender, message())
        await delivery.finish(Reply("It is.", citations=(citation,)))
        assert sender.texts()[-1] == f"It is.\n\nSource: {place}"


async def test_a_short_progress_is_shown_and_the_answer_takes_its_place(store):
    sender = ScriptedSender()
    delivery = await open_delivery(store, sender, message())
    await delivery.progress(Provisional("正在阅读文本：1/2", Progress(1, 2)))
    await delivery.finish(Reply("九百欧元。"))
    assert (sender.texts(), sender.shown[0]) == (["九百欧元。"], "正在阅读文本：1/2")


async def test_a_growing_post_that_is_gone_is_followed_by_one_with_the_whole_text(store):
    sender = ScriptedSender(faults={"edit": [PlatformRefused("unknown message")]})
    question = message()
    delivery = await open_delivery(store, sender, question)
    await delivery.show(LONG[:40])
    await sender.delete(question, "0")  # by a moderator
    await delivery.finish(Reply(LONG))
    assert sender.texts() == [LONG]
    # An attempt after that knows the new one.
    await (await open_delivery(store, sender, question)).finish(Reply(f"{LONG} Yes."))
    assert sender.texts() == [f"{LONG} Yes."]


class Offering(ScriptedSender):
    """A platform with buttons, or one that refuses them."""

    def __init__(self, error=None):
        super().__init__()
        self.limit, self.offered, self._error = 60, [], error

    async def finish(self, message, parts, reply, options):
        if self._error:
            raise self._error
        self.offered.append((parts, options))


ASKED_BACK = Reply(
    "Do you mean:\n1. Returning an item?\n2. A gift?\n3. None of these\n\n" + "This file is no text. " * 4,
    decision="ask_back",
    options=("Returning an item?", "A gift?"),
    language="en",
)


async def test_what_belongs_to_a_reply_gets_its_parts_and_options(store):
    sender = Offering()
    await (await open_delivery(store, sender, message())).finish(ASKED_BACK)
    [(parts, options)] = sender.offered
    assert [part.text for part in parts] == sender.texts()
    assert [part.ref for part in parts] == [str(number) for number in range(len(parts))]
    assert options == [*ASKED_BACK.options, "None of these"]


async def test_a_list_whose_buttons_are_refused_is_shown_all_the_same(store):
    sender = Offering(PlatformRefused("no buttons here"))
    await (await open_delivery(store, sender, message())).finish(ASKED_BACK)
    assert "1. Returning an item?" in sender.texts()[0]
