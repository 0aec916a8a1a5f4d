"""The one common message format. A leaf: imports nothing of ours but the engine's types."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import quote, unquote

from engine.types import Citation, Progress, TextFile, Window
from engine.types import Decision as EngineDecision

Decision = EngineDecision | Literal["command", "error", "stopped"]
Limit = Literal["person", "channel", "workspace", "tokens", "queue"]


def _fields(data: Any) -> dict[str, Any]:
    """A dataclass's fields as they are: `asdict` copies all that is in them, which takes far longer."""
    return {name: getattr(data, name) for name in data.__dataclass_fields__}


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, default=_fields)


@lru_cache(maxsize=4096)
def _joined(*parts: str) -> str:
    return ":".join(quote(part, safe="") for part in parts)


@dataclass(frozen=True, slots=True)
class ConversationKey:
    """Which conversation: the only way that keys of conversations are made."""

    platform: str
    workspace: str
    channel: str
    thread: str = ""

    def __str__(self) -> str:
        return _joined(self.platform, self.workspace, self.channel, self.thread)

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
    notice: str = ""
    """Set when the bot has something to post by itself: this, as it is."""
    command: str = ""
    """A command that was called by name, with `arguments`; `text` is what people would have typed."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    is_direct: bool = True
    """The bot is meant: named, called, or alone with the author. A follow-up in a thread may mean others."""
    over: Limit | None = None
    """The limit that this message is the first to exceed: its author is told, and that is all."""
    earlier_files: tuple[Attachment, ...] = ()
    """Of the conversation, newest first, when the message brings none. Never stored with the message."""
    sent_at: float = field(default_factory=time.time)

    def to_json(self) -> str:
        return _json({**_fields(self), "earlier_files": ()})

    @classmethod
    def from_json(cls, text: str | bytes) -> Message:
        given = json.loads(text)
        return cls(
            **{
                **given,
                "conversation": ConversationKey(**given["conversation"]),
                "author": Author(**given["author"]),
                "attachments": tuple(Attachment(**attachment) for attachment in given["attachments"]),
                "earlier_files": (),
            }
        )


class Receipt(IntEnum):
    """What became of a message that was handed in; false for one that was accepted before."""

    KNOWN = 0
    TAKEN = 1
    DROPPED = -1
    """It exceeds a limit of which its author was told."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a question after it was asked: it was edited, deleted, or its answer is not wanted.

    Without a `message_id` every question of the conversation is meant that was asked before.
    """

    kind: Literal["edit", "delete", "stop"]
    conversation: ConversationKey
    message_id: str = ""
    author_id: str = ""
    """Who did it; an edit counts only from the author of the question."""
    text: str = ""
    """With `edit`: what the question says now."""

    def to_json(self) -> str:
        return _json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Change:
        given = json.loads(text)
        return cls(**{**given, "conversation": ConversationKey(**given["conversation"])})


@dataclass(frozen=True, slots=True)
class Rating:
    """Whether an answer helped, as somebody said by a button. `message_id` names the question."""

    conversation: ConversationKey
    message_id: str
    author_id: str
    is_helpful: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One post of a reply: the platform's id of it, and what it shows."""

    ref: str
    text: str


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
    files: tuple[TextFile, ...] = ()
    """Sent along behind the text."""
    calls_staff: bool = False
    """The customer wants a person."""
    is_ours: bool = False
    """The team's own words, a plugin's or the bot's: no model wrote them, and every link in them counts."""
    tokens: int = 0
    """Read and written for it."""

    def to_json(self) -> str:
        return _json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Reply:
        given = json.loads(text)
        return cls(
            **{
                **given,
                "citations": tuple(Citation(**citation) for citation in given["citations"]),
                "options": tuple(given["options"]),
                "window": Window(**given["window"]),
                "files": tuple(TextFile(**file) for file in given.get("files", ())),
            }
        )

    @property
    def is_conversation(self) -> bool:
        """Whether this belongs into the history: commands and error texts do not."""
        return self.decision not in ("command", "error") and bool(self.text)
