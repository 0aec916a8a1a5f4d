"""What tests of long texts share: generators that say what the test says, and texts to read."""

import asyncio
import random
from contextlib import asynccontextmanager

from engine.generation import Ended
from engine.library.library import SAMPLE_PAGES
from engine.types import ChatRequest, ChatTurn, Outcome, Progress, TextFile, Usage

NEEDLE = "2026-11-14 03:12:44 ERROR worker-3 payment of order 48213 was declined by the bank: card expired"
WHY = "Why was the payment of order 48213 declined?"


def log_with(needle, size, depth=0.63):
    """A log of about `size` characters with one line in it, and that line's number."""
    words = (SAMPLE_PAGES / "returns.md").read_text().split()
    chance, lines, length = random.Random(1), [], 0
    while length < size:
        row = len(lines)
        said = " ".join(chance.choices(words, k=8))
        lines.append(f"2026-11-{row % 28 + 1:02d} 12:{row % 60:02d}:07 INFO worker-{row % 9} request {said}")
        length += len(lines[-1]) + 1
    place = int(len(lines) * depth)
    return "\n".join([*lines[:place], needle, *lines[place:]]) + "\n", place + 1


def pages(*names):
    """Sample pages, one behind the other."""
    found = [SAMPLE_PAGES / f"{name}.md" for name in names] or sorted(SAMPLE_PAGES.glob("*.md"))
    return "\n\n".join(path.read_text() for path in found)


def about(question, *texts, **options):
    """A request about texts."""
    files = tuple(TextFile(f"{row}.txt", text) for row, text in enumerate(texts))
    return ChatRequest((ChatTurn("user", question),), files=files, **options)


async def told(pieces):
    """The text, the outcome, and how the reading went on."""
    text, steps, outcome = "", [], None
    async for piece in pieces:
        assert outcome is None, "nothing may follow the outcome"
        match piece:
            case Progress():
                assert not text, "the answer takes the place of the progress"
                steps.append((piece.done, piece.total))
            case Outcome():
                outcome = piece
            case _:
                text += piece
    return text, outcome, steps


class Saying:
    """A generator that says what `script(prompt)` gives, and counts what is going on.

    None: it goes on for ever.
    """

    name = "saying"

    def __init__(self, real, script):
        self.context_length, self.tokenizer, self.count = real.context_length, real.tokenizer, real.count
        self._script = script
        self.asked, self.running = [], 0

    async def generate(self, turns, sampling, deadline=None, conversation=""):
        prompt = turns[-1].content
        self.asked.append(prompt)
        async with self._counted():
            if (said := self._script(prompt)) is None:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            yield said
            yield Ended("stop", Usage(10, 5))

    @asynccontextmanager
    async def _counted(self):
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
