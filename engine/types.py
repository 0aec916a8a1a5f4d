"""What crosses the engine's border: requests in, text and an outcome out.

A leaf: imports nothing of ours and no torch, so that the chat side can use it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant"]
Decision = Literal["answer", "ask_back", "hand_over", "refuse"]
Task = Literal["answer", "summarise", "draft", "condense"]
"""`condense` folds old turns into the conversation's summary."""
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One turn of a conversation, as OpenAI's chat format has it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. Names and meanings are OpenAI's, and vLLM's where OpenAI has none."""

    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0: off."""
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many alternatives to give beside each token's log-probability; None: no log-probabilities."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text that the customer sent: a file, or something pasted."""

    name: str
    text: str
    is_new: bool = True
    """It came with the message itself, not earlier."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the reading of a long text is, in windows."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to the engine: the conversation so far, its last turn being the message."""

    turns: tuple[ChatTurn, ...]
    sampling: Sampling = Sampling()
    conversation: str = ""
    knowledge: bool = True
    task: Task = "answer"
    deadline: float | None = None
    """Seconds on the monotonic clock after which nobody waits any more."""
    summary: str = ""
    """What was said before `turns`, in short."""
    files: tuple[TextFile, ...] = ()
    """Texts that came with the message, or earlier in the conversation."""
    language: str = ""
    """In which the customer wrote so far, ISO 639-1; empty when nobody knows."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A quotation: `quote` is exactly `document_text[start:end]`, offsets in characters."""

    document: str
    heading: str
    start: int
    end: int
    quote: str
    first_line: int = 0
    """Where the quotation begins, counted from 1; 0 when lines mean nothing to the reader."""
    last_line: int = 0
    language: str = ""
    """Of the quotation, where it is not the answer's; ISO 639-1."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of an answer and the model's log-probability of it, natural."""

    token: str
    logprob: float
    raw: bytes
    """Its UTF-8 bytes, which may be part of a character; empty for a token that is no text."""
    top: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens at its place, best first."""


@dataclass(frozen=True, slots=True)
class Window:
    """What fitted into the model's context, in whole turns and passages."""

    passages: int = 0
    turns_used: int = 0
    turns_left_out: int = 0
    is_summary_used: bool = False
    share_read: float = 1.0
    """Of the texts that the customer sent, in characters."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended: the last thing that `Engine.chat` yields."""

    decision: Decision = "answer"
    confidence: float = 1.0
    citations: tuple[Citation, ...] = ()
    options: tuple[str, ...] = ()
    """With `ask_back`: the questions that may have been meant, likeliest first."""
    wants_person: bool = False
    """With `hand_over`: the customer asks for a person or takes the one that was offered."""
    found: tuple[str, ...] = ()
    """Ids of the documents that fit best, best first."""
    language: str = ""
    """Of the answer, ISO 639-1; empty when it was not detected."""
    window: Window = Window()
    usage: Usage = Usage()
    finish_reason: FinishReason = "stop"
    model: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds by stage."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each token of the text, if they were asked for and nothing changed the text."""

    def extras(self) -> dict[str, Any]:
        """What is ours in an OpenAI-shaped answer: the content of its `frontdesk` field."""
        return {
            "decision": self.decision,
            "confidence": round(self.confidence, 4),
            "citations": [asdict(citation) for citation in self.citations],
            "options": list(self.options),
            "wants_person": self.wants_person,
            "found": list(self.found),
            "language": self.language,
            "window": asdict(self.window),
            "timings": {name: round(ms, 1) for name, ms in self.timings.items()},
        }

    @classmethod
    def from_extras(cls, extras: Mapping[str, Any], **more: Any) -> Outcome:
        """Read back what `extras` wrote; a server that is not ours sends none of it."""
        return cls(
            decision=extras.get("decision", "answer"),
            confidence=extras.get("confidence", 1.0),
            citations=tuple(Citation(**citation) for citation in extras.get("citations", ())),
            options=tuple(extras.get("options", ())),
            wants_person=extras.get("wants_person", False),
            found=tuple(extras.get("found", ())),
            language=extras.get("language", ""),
            window=Window(**extras.get("window", {})),
            timings=extras.get("timings", {}),
            **more,
        )


class Stopwatch:
    """Milliseconds by stage; `lap` ends a stage and begins the next."""

    def __init__(self) -> None:
        self._start = self._lap = time.monotonic()
        self.timings: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Write down the milliseconds since the last lap under `stage`, adding to what is there."""
        now = time.monotonic()
        self.timings[stage] = self.timings.get(stage, 0.0) + (now - self._lap) * 1000
        self._lap = now

    def total(self) -> dict[str, float]:
        """All laps, and `total_ms` since the beginning."""
        return {**self.timings, "total_ms": (time.monotonic() - self._start) * 1000}


Piece = str | Progress | Outcome
"""What an answer comes in: text, how far the reading is, and at last how it ended."""


class Engine(Protocol):
    """What the chat side sees of the engine, over HTTP or in-process."""

    def chat(self, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """Yield pieces of the answer, the `Outcome` last. Closing the iterator cancels."""
        ...
