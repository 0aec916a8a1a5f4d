"""The terminal: files named by path, and what is said about those that cannot be sent."""

import asyncio
import os
import signal

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from running import background
from web_chat import Intake

from bots.adapter import MAX_ATTACHMENT_BYTES
from bots.errors import StartError
from bots.message import Attachment, Change, Part, Reply
from bots.platforms.terminal import Terminal
from bots.talk import _parsed, chat_live, print_answer, read_file
from engine.types import TextFile


class Answering:
    """A terminal that has the answer ready."""

    def __init__(self, *events):
        self._events, self.asked = events, []

    async def ask(self, text, files=()):
        self.asked.append((text, tuple(files)))
        for event in self._events:
            yield event


def done(**citation):
    found = {"document": "lease.txt", "heading": "", "first_line": 0, "last_line": 0} | citation
    return {"kind": "done", "text": "900 euros.", "decision": "answer", "citations": [found]}


def test_a_file_is_sent_with_the_question_behind_its_path(tmp_path):
    path = tmp_path / "my lease.txt"
    path.write_text("The deposit is 900 euros.")
    expected = [Attachment("my lease.txt", "The deposit is 900 euros.")]
    assert _parsed(f"/file '{path}' How much is it?") == ("How much is it?", expected)
    assert _parsed(f"/file '{path}'") == ("", expected)
    assert _parsed("How much is it?") == ("How much is it?", [])


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b"\x00\xff", "PDF"), (b"x" * (MAX_ATTACHMENT_BYTES + 1), "10 MB")],
)
def test_a_file_that_cannot_be_sent_says_why(tmp_path, content, words):
    path = tmp_path / "a.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartError, match=words):
        read_file(path)


async def test_an_answer_is_printed_with_the_lines_it_stands_in(capsys):
    progress = {"kind": "progress", "text": "Reading the text: 1 of 2"}
    terminal = Answering(progress, "900 ", "euros.", done(first_line=12, last_line=14))
    assert (await print_answer(terminal, "How much?"))["decision"] == "answer"
    printed = capsys.readouterr().out
    assert printed == "900 euros.\n  [lease.txt, lines 12–14]\n"


@pytest.fixture
async def intake(store):
    return Intake(store)


@pytest.fixture
def keyboard():
    """What is typed."""
    with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
        yield keyboard


class Printed:
    """What stands on standard output, awaited."""

    def __init__(self, capsys):
        self._capsys, self.text = capsys, ""

    async def until(self, words):
        async with asyncio.timeout(5):
            while words not in self.text:
                self.text += self._capsys.readouterr().out
                await asyncio.sleep(0.01)


@pytest.fixture
def printed(capsys):
    return Printed(capsys)


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


async def say(intake, message, text, **reply):
    """A whole answer, as a worker gives it."""
    await intake.sender.finish(message, [Part(message.id, text)], Reply(text, **reply), [])


async def test_ctrl_c_stops_the_answer_and_not_the_chat(store, intake, keyboard, printed):
    before = signal.getsignal(signal.SIGINT)
    async with background(chat_live(Terminal(intake, store.relay))) as chat:
        keyboard.send_text("How long?\n")
        message = await intake.asked()
        await intake.sender.edit(message, message.id, "You have", is_growing=True)
        await printed.until("You have")
        press_ctrl_c()
        assert await intake.changed() == Change("stop", message.conversation, message.id, message.author.id)
        await say(intake, message, "You have (stopped)", decision="stopped")
        await printed.until("You have (stopped)")
        keyboard.send_text("And now?\n")
        await say(intake, await intake.asked(), "Thirty days.")
        await printed.until("Thirty days.")
        keyboard.send_text("\x04")
        assert await asyncio.wait_for(chat, 5) is False
    assert signal.getsignal(signal.SIGINT) is before


async def test_a_second_ctrl_c_ends_a_chat_that_gets_no_answer(store, intake, keyboard):
    async with background(chat_live(Terminal(intake, store.relay))) as chat:
        keyboard.send_text("How long?\n")
        await intake.asked()
        press_ctrl_c()
        await intake.changed()
        press_ctrl_c()
        assert await asyncio.wait_for(chat, 5) is False
    assert intake.changes.empty()


async def test_a_file_of_the_bots_is_printed_behind_the_answer(store, intake, capsys):
    async with background(print_answer(Terminal(intake, store.relay), "draft it")) as answered:
        message = await intake.asked()
        await intake.sender.post_file(message, TextFile("a.md", "Dear [all]"), nonce="n", is_retry=False)
        await say(intake, message, "Here it is.")
        await asyncio.wait_for(answered, 5)
    assert capsys.readouterr().out == "Here it is.\n--- a.md ---\nDear [all]\n"


async def test_an_answer_that_came_out_otherwise_is_printed_whole(store, intake, capsys):
    async with background(print_answer(Terminal(intake, store.relay), "How long?")) as answered:
        message = await intake.asked()
        await intake.sender.edit(message, message.id, "You have", is_growing=True)
        await say(intake, message, "Thirty days.")
        await asyncio.wait_for(answered, 5)
    assert capsys.readouterr().out == "You have\n\nThirty days.\n"
