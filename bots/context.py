"""What a plugin is handed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from bots import commands
from bots.adapter import problem_of
from bots.commands import Command
from bots.history import History, Turn
from bots.message import Attachment, Message
from bots.privacy import Privacy
from engine.language.phrases import say
from engine.types import ChatRequest, ChatTurn, Citation, Engine, Outcome, Progress, Task, TextFile


class Context:
    """The message, and what a plugin may do.

    `commands` are all that there are, for help texts; `language` is the author's, ISO 639-1, or empty.
    """

    def __init__(
        self,
        message: Message,
        engine: Engine,
        history: History,
        privacy: Privacy,
        commands: Sequence[Command],
        language: str = "",
    ) -> None:
        self.message, self.commands, self.language = message, tuple(commands), language
        self._engine, self._history, self._privacy = engine, history, privacy
        self.citations: tuple[Citation, ...] = ()
        """Of the last answer of the engine; shown with the command's reply."""
        self.tokens = 0
        """Read and written by the engine for the plugin."""
        self.has_asked = False
        """Whether a model wrote part of what the plugin knows."""
        self.attached: list[TextFile] = []
        """Files that go with the command's reply."""
        self.steps: asyncio.Queue[Progress | None] = asyncio.Queue()
        """How far the engine is, for whoever shows it."""

    @property
    def files(self) -> tuple[TextFile, ...]:
        """The texts of the attached files."""
        return tuple(TextFile(file.name, file.text) for file in self.message.attachments if not file.problem)

    def attach(self, name: str, text: str) -> None:
        """Send a text file along with the command's reply."""
        self.attached.append(TextFile(name, text))

    def say(self, key: str, **values: object) -> str:
        """One of the bot's own phrases, see `engine.language.phrases`, in the author's language."""
        return say(key, self.language, **values)

    def problem_of(self, attachment: Attachment) -> str:
        """Why a file has no text, in the author's language."""
        return problem_of(attachment, self.language)

    async def recent(self, count: int = 60) -> list[Turn]:
        """The conversation's newest turns, oldest first."""
        return await self._history.recent(self.message.conversation, count)

    async def ask(
        self,
        text: str,
        *,
        task: Task = "answer",
        knowledge: bool = True,
        files: Sequence[TextFile] = (),
    ) -> str:
        """Ask the engine, about `files` where there are some; the answer's text."""
        request = ChatRequest(
            (ChatTurn("user", text),),
            conversation=str(self.message.conversation),
            knowledge=knowledge,
            task=task,
            language=self.language,
            files=tuple(files),
        )
        self.has_asked, answer = True, ""
        async with aclosing(self._engine.chat(request)) as pieces:
            async for piece in pieces:
                commands.go_on()
                if isinstance(piece, Progress):
                    self.steps.put_nowait(piece)
                elif isinstance(piece, Outcome):
                    self.citations = piece.citations
                    self.tokens += piece.usage.prompt_tokens + piece.usage.completion_tokens
                else:
                    answer += piece
        return answer

    async def forget_author(self) -> int:
        """Delete everything that the author of this message said in this workspace; return how much."""
        return await self._privacy.forget(self.message.conversation, self.message.author.id)
