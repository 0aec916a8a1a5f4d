"""OpenAI's chat completions as JSON: what is asked, what is answered. Knows no HTTP server.

What is ours travels in one field, `frontdesk`, in and out.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from engine.errors import EngineError
from engine.types import (
    ChatRequest,
    ChatTurn,
    Outcome,
    Progress,
    Role,
    Sampling,
    Task,
    TextFile,
    TokenLogprob,
)

_ANSWER_SECONDS = 300
_MOST_TOKENS = 32_768
_MOST_ALTERNATIVES = 20
_MOST_FILES = 64
# Half a character, which JSON can carry ("\ud83d") and UTF-8 cannot.
_SURROGATE = re.compile("[\ud800-\udfff]")


def _without_surrogates(value: Any) -> Any:
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


_Text = Annotated[str, BeforeValidator(_without_surrogates)]


class TextPart(BaseModel):
    type: Literal["text"]
    text: _Text


class MessageBody(BaseModel):
    """A message as clients send it; roles that came later are read as the ones they replace."""

    role: Literal["system", "developer", "user", "assistant"]
    content: _Text | list[TextPart]

    def to_turn(self) -> ChatTurn:
        role: Role = "system" if self.role == "developer" else self.role
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return ChatTurn(role, text)


class StreamOptions(BaseModel):
    include_usage: bool = False


class FileBody(BaseModel):
    """A text that the customer sent, with the message or, when not `is_new`, earlier."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[_Text, Field(max_length=255)]
    text: _Text
    is_new: bool = True

    def to_file(self) -> TextFile:
        return TextFile(self.name, self.text, self.is_new)


class FrontdeskOptions(BaseModel):
    """The field that is ours."""

    model_config = ConfigDict(extra="forbid")

    conversation: str = ""
    knowledge: bool = True
    task: Task = "answer"
    summary: _Text = ""
    language: Annotated[str, Field(max_length=8)] = ""
    files: Annotated[list[FileBody], Field(max_length=_MOST_FILES)] = []


class ChatBody(BaseModel):
    """`POST /v1/chat/completions`. Fields of OpenAI's that change nothing here are ignored."""

    model: str = ""
    messages: Annotated[list[MessageBody], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int | None, Field(ge=1, le=_MOST_TOKENS)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=_MOST_TOKENS)] = None
    min_tokens: Annotated[int, Field(ge=0, le=_MOST_TOKENS)] = 0
    ignore_eos: bool = False
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    top_k: Annotated[int, Field(ge=-1)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=_MOST_ALTERNATIVES)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    n: Literal[1] | None = None
    frontdesk: FrontdeskOptions = FrontdeskOptions()

    @field_validator("top_logprobs")
    @classmethod
    def _only_with_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and not info.data.get("logprobs"):
            raise PydanticCustomError("top_logprobs", "is allowed only with logprobs: true")
        return value

    def to_request(self) -> ChatRequest:
        return ChatRequest(
            turns=tuple(message.to_turn() for message in self.messages),
            sampling=Sampling(
                max_tokens=self.max_completion_tokens or self.max_tokens,
                min_tokens=self.min_tokens,
                ignore_eos=self.ignore_eos,
                temperature=self.temperature or 0.0,
                top_p=1.0 if self.top_p is None else self.top_p,
                top_k=max(0, self.top_k),
                min_p=self.min_p,
                repetition_penalty=self.repetition_penalty,
                presence_penalty=self.presence_penalty or 0.0,
                frequency_penalty=self.frequency_penalty or 0.0,
                logprobs=(self.top_logprobs or 0) if self.logprobs else None,
                seed=self.seed,
                stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            ),
            conversation=self.frontdesk.conversation,
            knowledge=self.frontdesk.knowledge,
            task=self.frontdesk.task,
            summary=self.frontdesk.summary,
            language=self.frontdesk.language,
            files=tuple(file.to_file() for file in self.frontdesk.files),
            deadline=time.monotonic() + _ANSWER_SECONDS,
        )


class Shape:
    """OpenAI's objects around our text."""

    def __init__(self, model: str) -> None:
        self._base = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def chunk(self, delta: dict[str, str], outcome: Outcome | None = None) -> dict[str, Any]:
        choice = {
            "index": 0,
            "delta": delta,
            "finish_reason": outcome.finish_reason if outcome else None,
            **_logprobs(outcome),
        }
        ours = {"frontdesk": outcome.extras()} if outcome else {}
        return {**self._base, "object": "chat.completion.chunk", "choices": [choice], **ours}

    def progress(self, progress: Progress) -> dict[str, Any]:
        """A chunk without text, which other clients pass over."""
        return {**self.chunk({}), "frontdesk": {"progress": asdict(progress)}}

    def usage(self, outcome: Outcome) -> dict[str, Any]:
        return {**self._base, "object": "chat.completion.chunk", "choices": [], "usage": _usage(outcome)}

    def whole(self, text: str, outcome: Outcome) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": outcome.finish_reason,
            **_logprobs(outcome),
        }
        return {
            **self._base,
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(outcome),
            "frontdesk": outcome.extras(),
        }


def _usage(outcome: Outcome) -> dict[str, int]:
    read, written = outcome.usage.prompt_tokens, outcome.usage.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _logprobs(outcome: Outcome | None) -> dict[str, Any]:
    """A choice's `logprobs`, where there are any. In a stream they all come at its end: before that nobody
    knows whether the filter will leave the text as it is."""
    if outcome is None or not outcome.logprobs:
        return {}
    content = [{**_token(it), "top_logprobs": [_token(other) for other in it.top]} for it in outcome.logprobs]
    return {"logprobs": {"content": content, "refusal": None}}


def _token(it: TokenLogprob) -> dict[str, Any]:
    return {"token": it.token, "logprob": it.logprob, "bytes": list(it.raw) or None}


def sse(content: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def error_body(error: EngineError) -> dict[str, Any]:
    """The error as OpenAI sends it, with the data that it carries."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    data = {name: value for name, value in vars(error).items() if isinstance(value, int)}
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.code, **data}}
