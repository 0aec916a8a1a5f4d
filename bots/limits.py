"""How much is answered at most: messages of a person, a channel and a workspace, tokens a day, and how
many may wait. Counted in the step that accepts a message (`Inbox.put`), so once for each, whoever
delivers it again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bots import keys
from bots.message import ConversationKey, Limit, Message
from bots.settings import Settings

_MINUTE, _HOUR, _DAY = 60, 3600, 24 * 3600


@dataclass(frozen=True, slots=True)
class Counted:
    """One limit for one message: at most `most` within `seconds`, counted from the first.

    `key` counts, `told` remembers for as long that the author was told.
    """

    name: Limit
    key: str
    told: str
    most: int
    seconds: int


class Limits:
    """What counts for a message. A limit of 0 is none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def counts_tokens(self) -> bool:
        return bool(self._settings.limit_tokens)

    def of(self, message: Message) -> list[Counted]:
        """The limits that count for this message, the narrowest first: one person's flood is no channel's."""
        if message.job or message.notice:
            return []
        where, who = message.conversation, message.author.id
        workspace = (where.platform, where.workspace)
        settings = self._settings
        counters: list[tuple[Limit, str, int, int]] = [
            ("queue", "", settings.limit_queue, _MINUTE),
            ("tokens", self.tokens_key(where), settings.limit_tokens, _HOUR),
            ("person", keys.limit("person", *workspace, where.channel, who), settings.limit_person, _MINUTE),
            ("channel", keys.limit("channel", *workspace, where.channel), settings.limit_channel, _MINUTE),
            ("workspace", keys.limit("workspace", *workspace), settings.limit_workspace, _MINUTE),
        ]
        return [
            Counted(name, key, keys.limit("told", name, *workspace, where.channel, who), most, seconds)
            for name, key, most, seconds in counters
            if most
        ]

    def exceeds_tokens(self, used: int) -> bool:
        """Whether a workspace that used so many tokens today has none left."""
        return 0 < self._settings.limit_tokens <= used

    def tokens_key(self, conversation: ConversationKey) -> str:
        """Where the workspace's tokens of today (UTC) are counted."""
        day = str(int(time.time() // _DAY))
        return keys.limit("tokens", conversation.platform, conversation.workspace, day)
