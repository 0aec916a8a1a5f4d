"""Files from and to Slack, with a local server for it."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from slack_sender import ask, sending, token_of
from slack_server import SlackServer

from bots.adapter import MAX_ATTACHMENT_BYTES, nonce_of
from bots.errors import FileRefused, PlatformBusy, PlatformRefused
from bots.message import Attachment
from bots.platforms.slack.files import Files
from bots.platforms.slack.sender import SlackSender
from engine.types import TextFile

SUMMARY = TextFile("summary.txt", "Grüße: the oven is repaired on Monday.")


@pytest.fixture
async def server():
    async with SlackServer(echo=False) as server:
        yield server


@pytest.fixture
async def sender(server):
    async with sending(server) as sender:
        yield sender


def shared(server, channel=None):
    return [m for m in server.messages[channel or server.channel_id] if m.get("upload")]


async def post_file(sender, message, file=SUMMARY, *, part=1000, is_retry=False):
    return await sender.post_file(message, file, nonce=nonce_of(message.id, part), is_retry=is_retry)


async def test_a_file_is_shared_in_the_thread_under_its_own_title(server, sender):
    question = await ask(server)
    ref = await post_file(sender, question)
    [sent] = shared(server)
    assert sent["thread_ts"] == question.conversation.thread
    assert [file["title"] for file in sent["files"]] == ["summary.txt"]
    assert server.files[ref].decode() == SUMMARY.text
    await sender.delete(question, ref)
    assert not shared(server)


async def test_a_file_whose_answer_was_lost_is_found_and_not_sent_twice(server, sender):
    """By its name, which another file of the same title does not share."""
    first = await ask(server)
    second = await ask(server, thread_ts=first.conversation.thread)
    for message in (first, second):
        server.fail_next("files.completeUploadExternal", after=True)
        with pytest.raises(PlatformBusy):
            await post_file(sender, message)
    refs = [await post_file(sender, message, is_retry=True) for message in (first, second)]
    assert refs == [sent["files"][0]["id"] for sent in shared(server)]
    third = await post_file(sender, second, part=1001, is_retry=True)
    assert third not in refs
    assert len(shared(server)) == 3


async def test_a_file_that_was_never_shared_is_sent_again(server, sender):
    question = await ask(server)
    server.fail_next("files.completeUploadExternal", "internal_error")
    with pytest.raises(PlatformBusy):
        await post_file(sender, question)
    await post_file(sender, question, TextFile("empty.txt", ""), is_retry=True)
    assert len(shared(server)) == 1


async def test_files_need_a_scope_and_texts_wait_for_theirs(server, sender):
    question = await ask(server)
    server.fail_next("files.getUploadURLExternal", "missing_scope")
    with pytest.raises(PlatformRefused, match="needs the scope"):
        await post_file(sender, question)
    server.fail_next("chat.postMessage", "missing_scope")
    with pytest.raises(PlatformBusy, match="missing_scope"):
        await sender.post(question, "hello", nonce="n", is_retry=False, is_growing=False)


async def fetched(sender, message, url):
    try:
        return await sender.fetch(message, Attachment("a.txt", url=url))
    except FileRefused as error:
        return error.key


async def test_the_token_goes_to_slack_alone(server, sender):
    """Slack gives a remote file's own address, which anybody may choose, as `url_private`."""
    asked = []

    async def record(request):
        asked.append(dict(request.headers))
        return web.Response(text="gotcha")

    elsewhere = web.Application()
    elsewhere.router.add_get("/{tail:.*}", record)
    question = await ask(server)
    own = server._add_file("UANNA", "notes.txt", b"The oven is broken.")["url_private"]
    async with TestServer(elsewhere) as other:
        urls = (str(other.make_url("/notes.txt")), "http://[broken", own)
        found = [await fetched(sender, question, url) for url in urls]
    assert not asked
    assert found == ["not_uploaded", "not_fetched", b"The oven is broken."]
    server.bot_token = "xoxb-new"  # Slack leads to its sign-in page now
    sender._calls._token_of = token_of(SlackServer())
    assert await fetched(sender, question, own) == "not_fetched"


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://files.slack.com/files-pri/T1-F1/a.txt", True),
        ("https://slack.com/a.txt", True),
        ("http://files.slack.com/a.txt", False),
        ("https://evilslack.com/a.txt", False),
        ("https://slack.com.evil.example/a.txt", False),
        ("https://slack.com@evil.example/a.txt", False),
        ("https://speaks.example:8443/a.txt", True),
        ("https://speaks.example/a.txt", False),
        ("http://speaks.example:8443/a.txt", False),
    ],
)
async def test_addresses_that_get_the_token(server, monkeypatch, url, may):
    asked = []

    async def download(self, url, token):
        asked.append(token)
        return b"text"

    monkeypatch.setattr(Files, "_download", download)
    sender = SlackSender(token_of(server), "https://speaks.example:8443/api/")
    sender._calls._login._is_done = True  # there is no Slack at that address
    question = await ask(server)
    assert await fetched(sender, question, url) == (b"text" if may else "not_uploaded")
    assert asked == ([server.bot_token] if may else [])


async def test_a_long_file_is_read_to_its_end_and_a_longer_one_as_far_as_that_shows(server, sender):
    question, text = await ask(server), b"All of it. " * 90_000
    found = await fetched(sender, question, server._add_file("UANNA", "a.txt", text)["url_private"])
    assert found == text
    longer = server._add_file("UANNA", "b.txt", b"x" * (MAX_ATTACHMENT_BYTES * 2))
    found = await fetched(sender, question, longer["url_private"])
    assert MAX_ATTACHMENT_BYTES < len(found) < MAX_ATTACHMENT_BYTES * 2
