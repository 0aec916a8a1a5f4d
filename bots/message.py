"""The one common message format. A leaf: imports nothing of ours but the engine's types."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal
from urllib.parse import quote, unquote

from engine.types import Citation, Progress, Window
from engine.types import Decision as EngineDecision

Decision = EngineDecision | Literal["command", "error"]


@dataclass(frozen=True, slots=True)
class ConversationKey:
    """Which conversation: the only way that keys of conversations are made."""

    platform: str
    workspace: str
    channel: str
    thread: str = ""

    def __str__(self) -> str:
        return ":".join(quote(p, safe="") for p in (self.platform, self.workspace, self.channel, self.thread))

    @classmethod
    def parse(cls, text: str) -> ConversationKey:
        """What `str` made. Raises `ValueError` for anything else."""
        platform, workspace, channel, thread = map(unquote, text.split(":"))
        return cls(platform, workspace, channel, thread)


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote; `id` is stable on its platform, `name` is for people."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came along: its text, or why it has none, as a phrase of `engine.language.phrases`.

    Until a worker opens it, it may have neither: the platform still has it, or our own store.
    """

    name: str
    text: str = ""
    problem: str = ""
    url: str = ""
    """Where the platform has it; a link, or what else its sender makes of it."""
    size: int = 0
    """Bytes, as the platform says."""
    is_stored: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody wrote to the bot. `id` is unique over all platforms and is the turn's name."""

    id: str
    conversation: ConversationKey
    author: Author
    text: str
    is_private: bool
    """Nobody but the author reads along: a direct message, the web chat, the terminal."""
    attachments: tuple[Attachment, ...] = ()
    address: Mapping[str, str] = field(default_factory=dict)
    """What the platform needs to answer in the right place; means nothing to others."""
    job: str = ""
    """Set when no person wrote but a scheduled job is due."""
    earlier_files: tuple[Attachment, ...] = ()
    """Of the conversation, newest first, when the message brings none. Never stored with the message."""
    sent_at: float = field(default_factory=time.time)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "earlier_files": ()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Message:
        fields = json.loads(text)
        return cls(
            **{
                **fields,
                "conversation": ConversationKey(**fields["conversation"]),
                "author": Author(**fields["author"]),
                "attachments": tuple(Attachment(**attachment) for attachment in fields["attachments"]),
                "earlier_files": (),
            }
        )


@dataclass(frozen=True, slots=True)
class Provisional:
    """What is shown until there is an answer: how far a long text was read."""

    text: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Reply:
    """What the bot says to a message. Sensitive values are still placeholders in `text`."""

    text: str
    decision: Decision = "answer"
    confidence: float = 1.0
    citations: tuple[Citation, ...] = ()
    model: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    """With `ask_back`: the questions that may have been meant."""
    window: Window = Window()
    """What the answer rests on."""
    language: str = ""
    footer: str = ""
    """Shown below the text, and no part of what was said."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Reply:
        fields = json.loads(text)
        return cls(
            **{
                **fields,
                "citations": tuple(Citation(**citation) for citation in fields["citations"]),
                "options": tuple(fields["options"]),
                "window": Window(**fields["window"]),
            }
        )

    @property
    def is_conversation(self) -> bool:
        """Whether this belongs into the history: commands and error texts do not."""
        return self.decision not in ("command", "error")
