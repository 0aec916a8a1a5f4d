"""Files on their way: fetched late, redacted, sealed under keys of their own, remembered, forgotten."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scripted import (
    ANNA,
    BEN,
    Leased,
    ScriptedEngine,
    ScriptedSender,
    conversation,
    message,
    raw_redis,
    until_answered,
    working,
)

from bots import files, keys
from bots.adapter import MAX_ATTACHMENT_BYTES, text_attachment
from bots.build import load_plugins
from bots.errors import FileRefused
from bots.message import Attachment
from bots.partitions import partition_of
from bots.redaction import Redaction
from engine.filter import find
from engine.types import Outcome, Progress, TextFile

MAIL = "jane.doe@mail.example"


@pytest.fixture
def sender(monkeypatch):
    """A platform that remembers what it was to show, served by a worker that waits for nothing."""
    monkeypatch.setattr("bots.worker._TAKE_MS", 50)
    return ScriptedSender()


async def taken(store):
    return [entry.content for entry in await Leased(store).take()]


async def opened(store, given, fetch=None):
    return await store.opener.open(given, SimpleNamespace(fetch=fetch))


def elsewhere(name="notes.txt", size=100):
    """A file that the platform still has."""
    return Attachment(name, url="https://files.example/1", size=size)


def giving(content, fetched=None):
    """A platform that gives this content, and counts how often."""

    async def fetch(message, file):
        if fetched is not None:
            fetched.append(file.name)
        if isinstance(content, Exception):
            raise content
        return content

    return fetch


class TestStoring:
    async def test_the_inbox_names_a_file_and_its_text_lies_apart_sealed(self, store):
        text = "All about returns. " * 100_000
        await store.intake.receive(message("What does it say?", attachments=[text]))
        (stored,) = await taken(store)
        assert (stored.attachments[0].text, stored.attachments[0].is_stored) == ("", True)
        assert await store.redis.memory_usage(keys.inbox(partition_of(conversation())), samples=0) < 10_000
        assert "About returns" not in await raw_redis(store.redis)
        assert (await opened(store, stored)).attachments == (Attachment("notes.txt", text),)

    async def test_a_file_waits_for_a_worker_and_is_then_kept_for_a_day(self, store):
        await store.intake.receive(message("?", id="test:1", attachments=["text"]))
        key = keys.file("test:1", 0)
        assert await store.redis.ttl(key) > files.KEPT_SECONDS
        await opened(store, (await taken(store))[0])
        assert 0 < await store.redis.ttl(key) <= files.KEPT_SECONDS

    async def test_a_file_that_is_gone_is_told(self, store):
        await store.intake.receive(message("?", attachments=["text"]))
        (stored,) = await taken(store)
        await store.redis.delete(keys.file(stored.id, 0))
        assert (await opened(store, stored)).attachments[0].problem == "file_gone"

    async def test_an_empty_file_is_told(self, store):
        assert (await opened(store, message("?", attachments=[""]))).attachments[
            0
        ].problem == "no_text_inside"


class TestFetching:
    async def test_a_file_at_the_platform_is_fetched_redacted_and_fetched_only_once(self, store):
        fetched, given = [], message("?", attachments=[elsewhere()])
        fetch = giving(f"Write to {MAIL}.".encode(), fetched)
        for _ in range(2):
            (file,) = (await opened(store, given, fetch)).attachments
            assert file.text == "Write to <EMAIL_ADDRESS_1>."
        assert fetched == ["notes.txt"]
        assert "jane" not in await raw_redis(store.redis)

    async def test_a_file_that_cannot_be_had_says_why(self, store):
        given = message("?", attachments=[elsewhere()])
        (file,) = (await opened(store, given, giving(FileRefused("not_uploaded", "elsewhere")))).attachments
        assert file.problem == "not_uploaded"

    async def test_what_is_too_large_is_not_even_fetched_and_files_count_together(self, store):
        fetched = []
        large = elsewhere("large.txt", MAX_ATTACHMENT_BYTES + 1)
        (file,) = (await opened(store, message("?", attachments=[large]), giving(b"x", fetched))).attachments
        assert (file.problem, fetched) == ("too_large", [])
        both = [elsewhere("a.txt", 1000), elsewhere("b.txt", MAX_ATTACHMENT_BYTES - 500)]
        found = (
            await opened(store, message("?", attachments=both), giving(b"x" * 1000, fetched))
        ).attachments
        assert [file.problem for file in found] == ["", "too_large"]

    async def test_a_text_that_is_longer_than_its_file_promised_is_refused(self, store, monkeypatch):
        monkeypatch.setattr("bots.opener.MAX_ATTACHMENT_BYTES", 100)
        given = message("?", attachments=[elsewhere("a.txt", 50)])
        (file,) = (await opened(store, given, giving(b"x" * 101))).attachments
        assert (file.problem, file.text) == ("too_large", "")

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("photo.png", b"\x89PNG\x00\xff", "not_text"),
            ("empty.txt", b"  \n", "no_text_inside"),
            ("broken.pdf", b"%PDF-1.7 nothing follows", "unreadable"),
            ("large.txt", b"x" * (MAX_ATTACHMENT_BYTES + 1), "too_large"),
        ],
    )
    def test_what_is_no_text_says_what_it_is(self, name, content, problem):
        assert text_attachment(name, content).problem == problem

    def test_html_and_other_encodings_become_text(self):
        page = "<html><body><article><p>The deposit is nine hundred euros.</p></article></body></html>"
        assert "nine hundred" in text_attachment("page.html", page.encode()).text
        assert text_attachment("notes.txt", "Grüße".encode("utf-16")).text == "Grüße"


class TestRemembering:
    async def test_the_next_question_has_the_conversations_files_newest_first(self, store):
        for name in ("first", "second"):
            await store.intake.receive(message("?", attachments=[Attachment(f"{name}.txt", name)]))
        found = await opened(store, message("And when?"))
        assert [file.name for file in found.earlier_files] == ["second.txt", "first.txt"]
        elsewhere = await opened(store, message("And when?", channel="other"))
        assert elsewhere.earlier_files == ()

    async def test_a_message_with_a_file_of_its_own_has_no_others(self, store):
        await store.intake.receive(message("?", attachments=["old"]))
        assert (await opened(store, message("?", attachments=["new"]))).earlier_files == ()

    async def test_what_is_over_its_time_is_not_there_and_ten_megabytes_are_enough(self, store):
        for row in range(3):
            text = str(row) * (MAX_ATTACHMENT_BYTES // 2)
            await store.files.put(message("?", id=f"test:{row}", attachments=[text]))
        found = await opened(store, message("And when?"))
        assert [file.text[0] for file in found.earlier_files] == ["2", "1"]
        await store.redis.delete(keys.file("test:2", 0))
        found = await opened(store, message("And when?"))
        assert [file.text[0] for file in found.earlier_files] == ["1", "0"]

    async def test_who_is_forgotten_leaves_no_file_behind(self, store):
        await store.intake.receive(message("?", attachments=["of Anna"], author=ANNA))
        await store.intake.receive(message("?", attachments=["of Ben"], author=BEN))
        await store.privacy.forget(conversation(), ANNA.id)
        found = await opened(store, message("And when?"))
        assert [file.text for file in found.earlier_files] == ["of Ben"]
        assert len([key async for key in store.redis.scan_iter("frontdesk:file:*")]) == 1

    async def test_a_file_that_left_no_turn_is_forgotten_from_elsewhere_too(self, store):
        await store.intake.receive(message("/summarise", attachments=["of Anna"]))
        author = keys.conversations(store.envelope.author_index(conversation(), ANNA.id))
        assert await store.redis.ttl(author) > files.KEPT_SECONDS * 7
        await store.privacy.forget(conversation("direct"), ANNA.id)
        assert (await opened(store, message("And when?"))).earlier_files == ()
        assert [key async for key in store.redis.scan_iter("frontdesk:file:*")] == []

    async def test_what_is_over_its_time_leaves_the_index_when_another_comes(self, store, monkeypatch):
        now = time.time()
        for days, left in ((0, 1), (7, 2), (9, 2)):
            monkeypatch.setattr("bots.files.time.time", lambda days=days: now + days * 24 * 3600)
            await store.files.put(message("?", attachments=["text"]))
            assert await store.redis.hlen(keys.files(conversation())) == left

    async def test_earlier_files_are_never_stored_with_a_message(self, store):
        given = replace(message("?"), earlier_files=(Attachment("old.txt", "secret"),))
        assert "secret" not in given.to_json()


class TestRedaction:
    async def test_more_values_than_the_vault_shall_hold_are_masked(self, store):
        text = "\n".join(f"user{row}@mail.example" for row in range(5003))
        [redacted] = await Redaction(store.vault)(conversation(), ANNA.id, [text])
        lines = redacted.split("\n")
        assert (lines[0], lines[4999]) == ("<EMAIL_ADDRESS_1>", "<EMAIL_ADDRESS_5000>")
        assert lines[5000:] == ["[email address]"] * 3

    async def test_a_value_over_two_lines_leaves_their_number_as_it_was(self, store):
        card = "4111 1111\n1111 1111"
        assert find(card)
        [redacted] = await Redaction(store.vault)(conversation(), ANNA.id, [f"{card}\nnext line"])
        assert redacted.split("\n")[2] == "next line"


async def test_a_worker_hands_the_texts_to_the_engine_and_remembers_them(store, sender):
    engine = ScriptedEngine("Nine hundred euros.")
    async with working(store, engine, sender):
        await store.intake.receive(message("How much is it?", attachments=["The deposit is 900 euros."]))
        await until_answered(store)
        await store.intake.receive(message("And when?"))
        await until_answered(store)
    new, old = [request.files for request in engine.requests]
    assert new == (TextFile("notes.txt", "The deposit is 900 euros."),)
    assert old == (TextFile("notes.txt", "The deposit is 900 euros.", is_new=False),)


class Reading:
    """An engine that reads for a while before it answers."""

    def __init__(self, *steps):
        self._steps, self.is_closed = steps, False

    async def chat(self, request):
        try:
            for step in self._steps:
                yield step
                await asyncio.sleep(0)
            yield "Nine hundred euros."
            yield Outcome()
        finally:
            self.is_closed = True


async def test_progress_is_shown_where_the_answer_will_stand(store, sender):
    engine = Reading(Progress(0, 0), *(Progress(done, 3) for done in range(4)))
    async with working(store, engine, sender):
        await store.intake.receive(message("How much is it?", attachments=["The deposit is 900 euros."]))
        await until_answered(store)
    assert sender.texts() == ["Nine hundred euros."]
    assert sender.shown == [
        "Reading the text …",
        *(f"Reading the text: {done} of 3" for done in range(4)),
        "Nine hundred euros.",
    ]


async def test_progress_keeps_the_distance_between_edits(store, sender):
    sender.edit_seconds = 60
    engine = Reading(*(Progress(done, 50) for done in range(51)))
    async with working(store, engine, sender):
        await store.intake.receive(message("?", attachments=["text"]))
        await until_answered(store)
    assert sender.shown == ["Reading the text: 0 of 50", "Nine hundred euros."]


async def test_a_summary_by_command_shows_its_progress_too(store, sender, settings):
    engine = Reading(Progress(1, 2))
    async with working(store, engine, sender, registry=load_plugins(settings)):
        await store.intake.receive(message("/summarise", attachments=["text"]))
        await until_answered(store)
    assert sender.shown == ["Reading the text: 1 of 2", "Nine hundred euros."]
