"""The engine of the fault suite: it says which question it answers, and which generation of that it is."""

import asyncio
import itertools
import os
import random
import re

from fault_judge import QUESTION

from engine.errors import Unavailable
from engine.types import Outcome


class ScriptedAnswers:
    """Answers like `About qload1n2: … Made as g17x0.`, so that no two generations are the same text.

    `most_ms` bounds a pause drawn for each question from the seed; words stream over it. `poison` is a word
    upon which the process dies, `slow` one upon which an answer takes `slow_seconds`.
    """

    def __init__(self, *, seed=0, most_ms=0, words=12, poison="", slow="", slow_seconds=0.0, refuse=""):
        self._seed, self._most_ms, self._words, self._poison = seed, most_ms, words, poison
        self._slow, self._slow_seconds, self._refuse = slow, slow_seconds, refuse
        self._numbers = itertools.count()

    async def chat(self, request):
        """As `engine.types.Engine.chat`."""
        asked = request.turns[-1].content
        found = QUESTION.search(asked)
        question = found[0] if found else "nothing"
        if self._poison and self._poison in asked:
            os.kill(os.getpid(), 9)
        if self._refuse and self._refuse in asked:
            raise Unavailable("the engine is told to fail")
        pause = random.Random(f"{self._seed}{question}").uniform(0, self._most_ms) / 1000
        if self._slow and self._slow in asked:
            pause = self._slow_seconds
        made = f"g{os.getpid()}x{next(self._numbers)}"
        text = f"About {question}: {'you can return it ' * (self._words // 4)}within a month. Made as {made}."
        pieces = re.findall(r"\S+\s*", text)
        for piece in pieces:
            if pause:
                await asyncio.sleep(pause / len(pieces))
            yield piece
        yield Outcome()
