"""What is kept about people, everywhere it lies: dropped when its time is over, deleted when they ask."""

from __future__ import annotations

from bots.audit import Audit
from bots.dead_letters import DeadLetters
from bots.feedback import Feedback
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
        feedback: Feedback,
        audit: Audit,
    ) -> None:
        self._history, self._summaries = history, summaries
        self._vault, self._files, self._dead_letters = vault, files, dead_letters
        self._feedback, self._audit = feedback, audit

    async def purge(self) -> int:
        """Drop everything older than the retention time; return how much."""
        stores = (self._history, self._vault, self._dead_letters, self._feedback, self._audit)
        return sum([await store.purge() for store in stores])

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
        await self._feedback.forget(conversation, author_id)
        return forgotten + await self._dead_letters.forget(conversation, author_id)
