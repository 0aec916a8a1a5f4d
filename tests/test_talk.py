"""The terminal: files named by path, and what is said about those that cannot be sent."""

import pytest

from bots.adapter import MAX_ATTACHMENT_BYTES
from bots.errors import StartError
from bots.message import Attachment
from bots.talk import _parsed, print_answer, read_file


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
