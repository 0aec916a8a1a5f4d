"""The terminal for the contract: somebody in front of it, and what is printed below each line typed."""

import asyncio
import contextlib
import io
import re
from pathlib import Path

from harness import ANNA, Harness, Post
from harness_web import ONE_PERSON, OWN_RELAY
from rich.console import Console

from bots import talk
from bots.platforms.terminal import Terminal
from bots.relay import RelaySender
from bots.tasks import end


class TerminalHarness(Harness):
    """Somebody in front of a terminal: what is printed below each line typed."""

    name = "terminal"
    lacks = {  # noqa: RUF012
        "redeliver": "a line is handed in once, by the process that read it",
        "edit": "a line that was sent cannot be changed",
        "delete": "a line that was sent cannot be taken back",
        "choose": "there are no buttons: an option is typed",
        "rate": "there are no buttons",
        "silence": "an empty line is no question",
        "patience": "who asks is told, and asks again",
        "haste": "a line is typed when the one before is answered",
        "bots_say": "nobody else writes in a session",
        "groups": ONE_PERSON,
        "pings": "nobody can be pinged",
        "busy": OWN_RELAY,
        "wrong_settings": OWN_RELAY,
    }

    def __init__(self, monkeypatch, tmp_path):
        self._monkeypatch, self._folder = monkeypatch, tmp_path
        self._printed, self._tasks = [], []

    async def __aexit__(self, *_):
        for task in self._tasks:
            await end(task)

    @contextlib.asynccontextmanager
    async def receiving(self, store, registry):
        self._terminal = Terminal(store.intake, store.relay)
        yield

    @contextlib.asynccontextmanager
    async def sending(self, store):
        yield {"terminal": RelaySender(store.relay)}

    async def ask(self, text, *, person=ANNA, is_private=False, file=None, after=None):
        paper, files = io.StringIO(), []
        if file:
            path = Path(self._folder / file[0])
            path.write_bytes(file[1])
            files.append(talk.read_file(path))
        self._monkeypatch.setattr(talk, "out", Console(file=paper, highlight=False))
        self._printed.append(paper)
        self._tasks.append(asyncio.create_task(talk.print_answer(self._terminal, text, files)))

    async def stop(self, question):
        await self._terminal.stop()

    async def call(self, name, arguments):
        await self.ask(f"/{name} {' '.join(arguments.values())}")

    def _pages(self):
        return [paper.getvalue() for paper in self._printed]

    def posts(self):
        """Without what is printed below an answer."""
        pages = [re.split(r"\n(?:  \[|--- )", page)[0].removesuffix("\n") for page in self._pages()]
        return [Post(str(number), page) for number, page in enumerate(pages) if page]

    def sources(self):
        return "\n".join(re.findall(r"^  \[(.*)\]$", "\n".join(self._pages()), re.MULTILINE))

    def files(self):
        return dict(re.findall(r"^--- (.*) ---\n(.*)$", "\n".join(self._pages()), re.MULTILINE))

    def outgoing(self):
        return self._pages()
