"""What a plugin is handed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from bots.commands import Command
from bots.history import History, Turn
from bots.message import Message
from bots.privacy import Privacy
from engine.types import ChatRequest, ChatTurn, Engine, Task


class Context:
    """The message, and what a plugin may do. `commands` are all that there are, for help texts."""

    def __init__(
        self,
        message: Message,
        engine: Engine,
        history: History,
        privacy: Privacy,
        commands: Sequence[Command],
    ) -> None:
        self.message, self.commands = message, tuple(commands)
        self._engine, self._history, self._privacy = engine, history, privacy

    async def recent(self, count: int = 60) -> list[Turn]:
        """The conversation's newest turns, oldest first."""
        return await self._history.recent(self.message.conversation, count)

    async def ask(self, text: str, *, task: Task = "answer", knowledge: bool = True) -> str:
        """Ask the engine; the answer's text."""
        request = ChatRequest(
            (ChatTurn("user", text),),
            conversation=str(self.message.conversation),
            knowledge=knowledge,
            task=task,
        )
        answer = ""
        async with aclosing(self._engine.chat(request)) as pieces:
            async for piece in pieces:
                answer += piece if isinstance(piece, str) else ""
        return answer

    async def forget_author(self) -> int:
        """Delete everything that the author of this message said in this workspace; return how much."""
        return await self._privacy.forget(self.message.conversation, self.message.author.id)
