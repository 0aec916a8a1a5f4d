"""The web chat: one page, a session a browser, answers streamed as server-sent events.

How the page looks and speaks is for `web_page` and `web.html`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import Base64Bytes, BaseModel, Field, StringConstraints
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bots.adapter import MAX_ATTACHMENT_BYTES, text_attachment
from bots.history import History
from bots.intake import Intake
from bots.message import Attachment, Author, Change, ConversationKey, Message, Rating
from bots.platforms.web_page import MAX_TEXT_CHARACTERS, SAMPLE_QUESTIONS, language_of, page_response, tell
from bots.relay import Relay
from bots.status import prometheus, read_status
from bots.vault import Vault
from engine.filter import restore_placeholders
from engine.log import logger

_COOKIE = "frontdesk_session"
_COOKIE_SECONDS = 90 * 24 * 3600
_SESSION = re.compile(r"[\w-]{32,64}")
ChangeKind = Literal["edit", "delete", "stop"]

log = logger("bots.web")

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_TEXT_CHARACTERS)]


class AttachmentBody(BaseModel):
    """A file as text, or where the browser cannot make it text, as it is."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    text: Annotated[str, StringConstraints(max_length=MAX_ATTACHMENT_BYTES)] = ""
    content: Annotated[Base64Bytes, Field(max_length=MAX_ATTACHMENT_BYTES)] = b""

    def read(self) -> Attachment:
        """The attachment. Blocks, see `text_attachment`."""
        return text_attachment(self.name, self.content) if self.content else Attachment(self.name, self.text)


class MessageBody(BaseModel):
    """`POST /messages`. The same id sent twice is answered once."""

    id: Annotated[str, StringConstraints(pattern=r"^[\w-]{8,64}$")]
    text: Text = ""
    attachment: Annotated[AttachmentBody | None, Field()] = None


class TurnBody(BaseModel):
    """`POST /stop` and `POST /delete`: a question, by the name that `POST /messages` gave it."""

    turn: Annotated[str, StringConstraints(max_length=128)]


class EditBody(TurnBody):
    """`POST /edit`: what the question says now."""

    text: Annotated[Text, Field(min_length=1)]


class RatingBody(TurnBody):
    """`POST /feedback`."""

    helpful: bool


def create_app(
    intake: Intake,
    relay: Relay,
    history: History,
    vault: Vault,
    *,
    redis: Redis | None = None,
    suggestions: Sequence[str] = SAMPLE_QUESTIONS,
) -> FastAPI:
    """The page and its endpoints. Everybody who can connect may ask: bind it accordingly.

    Parameters
      redis: with it `GET /metrics` is there, for this machine alone
      suggestions: questions that an empty page offers
    """
    app = FastAPI(title="frontdesk", docs_url=None, redoc_url=None, openapi_url=None)
    chat = _Chat(intake, relay, history, vault)

    @app.get("/")
    async def index(request: Request) -> Response:
        response = page_response(_language(request), suggestions)
        response.set_cookie(
            _COOKIE,
            _cookie(request) or secrets.token_urlsafe(32),
            max_age=_COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        if redis is None or not _is_from_here(request):
            raise HTTPException(404)
        return await _metrics(redis)

    for post in (chat.messages, chat.edit, chat.delete, chat.stop, chat.feedback):
        app.post(f"/{post.__name__}", status_code=202)(post)
    for get in (chat.history, chat.events):
        app.get(f"/{get.__name__}")(get)
    app.exception_handler(_Refused)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(RedisError)(_unavailable)
    return app


class _Chat:
    """What a browser with a session can do."""

    def __init__(self, intake: Intake, relay: Relay, history: History, vault: Vault) -> None:
        self._intake, self._relay, self._history, self._vault = intake, relay, history, vault

    async def messages(self, body: MessageBody, request: Request) -> Response:
        session = _needed_session(request)
        if not body.text and body.attachment is None:
            raise _Refused(400, "web_empty")
        files = (await asyncio.to_thread(body.attachment.read),) if body.attachment else ()
        message = Message(
            id=f"{_prefix(session)}{body.id}",
            conversation=_conversation(session),
            author=Author(session),
            text=body.text,
            is_private=True,
            attachments=files,
        )
        await self._intake.receive(message)
        return _accepted(message.id)

    async def edit(self, body: EditBody, request: Request) -> Response:
        return await self._change(request, body, "edit", body.text)

    async def delete(self, body: TurnBody, request: Request) -> Response:
        return await self._change(request, body, "delete")

    async def stop(self, body: TurnBody, request: Request) -> Response:
        return await self._change(request, body, "stop")

    async def _change(self, request: Request, body: TurnBody, kind: ChangeKind, text: str = "") -> Response:
        session = _owner(request, body)
        await self._intake.change(Change(kind, _conversation(session), body.turn, session, text))
        return _accepted(body.turn)

    async def feedback(self, body: RatingBody, request: Request) -> Response:
        session = _owner(request, body)
        await self._intake.rate(Rating(_conversation(session), body.turn, session, body.helpful))
        return _accepted(body.turn)

    async def history(self, request: Request) -> Response:
        session = _session(request)
        turns = [] if session is None else await self._turns(session)
        return JSONResponse({"turns": turns}, headers={"Cache-Control": "no-store"})

    async def _turns(self, session: str) -> list[dict[str, Any]]:
        conversation = _conversation(session)
        values = await self._vault.values(conversation, session)
        turns = await self._history.recent(conversation)
        shown = [{"role": turn.role, "text": turn.content, "citations": turn.citations} for turn in turns]
        return [_restored(turn, values) for turn in shown]

    async def events(self, request: Request, last_event_id: Annotated[str, Header()] = "") -> Response:
        session = _needed_session(request)
        is_resumed = re.fullmatch(r"\d+-\d+", last_event_id)
        after = last_event_id if is_resumed else await self._relay.position(_conversation(session))
        return StreamingResponse(
            self._follow(session, after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    async def _follow(self, session: str, after: str) -> AsyncIterator[str]:
        yield "retry: 1000\n\n"
        async with aclosing(self._relay.follow(_conversation(session), after)) as followed:
            async for item in followed:
                if item is None:  # a comment keeps proxies from closing a silent connection
                    yield ": still here\n\n"
                else:
                    event = await self._shown(session, item[1])
                    yield f"id: {item[0]}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"

    async def _shown(self, session: str, event: dict[str, Any]) -> dict[str, Any]:
        """The event, with values in what the worker sends with placeholders: all but the text itself."""
        hidden = {name: event[name] for name in ("question", "citations") if name in event}
        if not hidden:
            return event
        return {**event, **_restored(hidden, await self._vault.values(_conversation(session), session))}


class _Refused(HTTPException):
    """A request that is answered with a problem: its status, and the phrase that says what is wrong."""

    def __init__(self, status: int, phrase: str) -> None:
        super().__init__(status, phrase)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, _Refused)
    return JSONResponse({"error": tell(error.detail, _language(request))}, error.status_code)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    is_long = any(found["type"].endswith("too_long") for found in error.errors())
    return await _refused(request, _Refused(413, "web_long") if is_long else _Refused(400, "web_malformed"))


async def _unavailable(request: Request, error: Exception) -> Response:
    log.error("Redis cannot be reached; the browser was told to try again", reason=str(error))
    return await _refused(request, _Refused(503, "web_not_stored"))


def _accepted(turn: str) -> Response:
    return JSONResponse({"turn": turn}, 202)


async def _metrics(redis: Redis) -> Response:
    return PlainTextResponse(prometheus(await read_status(redis)), media_type="text/plain; version=0.0.4")


def _is_from_here(request: Request) -> bool:
    """Whether a client on this machine asks, and no proxy in the name of one that is not."""
    if any(
        name.startswith("x-forwarded-") or name in {"forwarded", "via", "x-real-ip"}
        for name in request.headers
    ):
        return False
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:  # a socket, or whatever else has no address
        return False


def _restored(value: Any, values: Mapping[str, str]) -> Any:
    """`value` with the customer's own values in place of placeholders, in every text within it."""
    if isinstance(value, str):
        return restore_placeholders(value, values)
    if isinstance(value, dict):
        return {name: _restored(inner, values) for name, inner in value.items()}
    return [_restored(inner, values) for inner in value] if isinstance(value, list | tuple) else value


def _language(request: Request) -> str:
    return language_of(request.headers.get("accept-language", ""))


def _cookie(request: Request) -> str | None:
    found = request.cookies.get(_COOKIE, "")
    return found if _SESSION.fullmatch(found) else None


def _session(request: Request) -> str | None:
    """The session's name. The cookie is a credential, and names are stored: so a digest of it."""
    cookie = _cookie(request)
    return hashlib.sha256(cookie.encode()).hexdigest()[:32] if cookie else None


def _needed_session(request: Request) -> str:
    if (session := _session(request)) is None:
        raise _Refused(401, "web_no_session")
    return session


def _prefix(session: str) -> str:
    """What the session's turns begin with: nobody can claim or change another's."""
    return f"web:{session[:16]}:"


def _owner(request: Request, body: TurnBody) -> str:
    """The session, which must have asked the question that is meant."""
    session = _needed_session(request)
    if not body.turn.startswith(_prefix(session)):
        raise _Refused(404, "web_not_yours")
    return session


def _conversation(session: str) -> ConversationKey:
    return ConversationKey("web", "local", session)
