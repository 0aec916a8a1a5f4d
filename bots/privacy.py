"""What is kept about people, everywhere it lies: dropped when its time is over, deleted when they ask."""

from __future__ import annotations

from bots.dead_letters import DeadLetters
from bots.files import Files
from bots.history import History
from bots.message import ConversationKey
from bots.summaries import Summaries
from bots.vault import Vault


class Privacy:
    """One place that knows every store of what customers wrote."""

    def __init__(
        self,
        history: History,
        summaries: Summaries,
        vault: Vault,
        files: Files,
        dead_letters: DeadLetters,
    ) -> None:
        self._history, self._summaries = history, summaries
        self._vault, self._files, self._dead_letters = vault, files, dead_letters

    async def purge(self) -> int:
        """Drop everything older than the retention time; return the number of turns, values and letters."""
        return await self._history.purge() + await self._vault.purge() + await self._dead_letters.purge()

    async def forget(self, conversation: ConversationKey, author_id: str) -> int:
        """Delete what this author said anywhere in the workspace; return the number of turns and letters."""
        everywhere = {conversation, *await self._history.conversations(conversation, author_id)}
        for found in everywhere:
            await self._vault.forget(found, author_id)
            await self._files.forget(found, author_id)
            await self._summaries.forget(found)
        forgotten = await self._history.forget(conversation, author_id)
        for found in everywhere:  # again: one that was begun before the turns were gone knows them
            await self._summaries.forget(found)
        return forgotten + await self._dead_letters.forget(conversation, author_id)
