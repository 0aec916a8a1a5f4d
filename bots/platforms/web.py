"""The web chat: one page, a session a browser, answers streamed as server-sent events."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from pydantic import Base64Bytes, BaseModel, Field, StringConstraints
from redis.exceptions import RedisError

from bots.adapter import MAX_ATTACHMENT_BYTES, Receive, text_attachment
from bots.history import History
from bots.message import Attachment, Author, ConversationKey, Message
from bots.relay import Relay
from bots.vault import Vault
from engine.filter import restore_placeholders
from engine.log import logger

_PAGE = Path(__file__).with_name("web.html")
_COOKIE = "frontdesk_session"
_COOKIE_SECONDS = 90 * 24 * 3600
_SESSION = re.compile(r"[\w-]{32,64}")
MAX_TEXT_CHARACTERS = 100_000
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

log = logger("bots.web")


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
    text: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_TEXT_CHARACTERS)] = ""
    attachment: Annotated[AttachmentBody | None, Field()] = None


def create_app(receive: Receive, relay: Relay, history: History, vault: Vault) -> FastAPI:
    """The page and its three endpoints. Everybody who can connect may ask: bind it accordingly."""
    app = FastAPI(title="frontdesk", docs_url=None, redoc_url=None, openapi_url=None)
    page = _PAGE.read_text(encoding="utf-8")

    @app.get("/")
    async def index(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        response = HTMLResponse(page.replace("{{NONCE}}", nonce))
        response.headers["Content-Security-Policy"] = _POLICY.format(nonce=nonce)
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        response.set_cookie(
            _COOKIE,
            _cookie(request) or secrets.token_urlsafe(32),
            max_age=_COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    @app.post("/messages", status_code=202)
    async def post_message(body: MessageBody, request: Request) -> Response:
        session = _session(request)
        if session is None:
            return _problem(401, "Open the page first: it gives you a session.")
        if not body.text and body.attachment is None:
            return _problem(400, "The message is empty: write what you would like to know.")
        files = (await asyncio.to_thread(body.attachment.read),) if body.attachment else ()
        # The session is part of the id: nobody can claim another's message ids.
        message = Message(
            id=f"web:{session[:16]}:{body.id}",
            conversation=_conversation(session),
            author=Author(session),
            text=body.text,
            is_private=True,
            attachments=files,
        )
        await receive(message, ())
        return JSONResponse({"turn": message.id}, 202)

    @app.get("/history")
    async def read_history(request: Request) -> Response:
        session = _session(request)
        if session is None:
            return JSONResponse({"turns": []})
        conversation = _conversation(session)
        values = await vault.values(conversation, session)
        turns = [
            {
                "role": turn.role,
                "text": restore_placeholders(turn.content, values),
                "citations": turn.citations,
            }
            for turn in await history.recent(conversation)
        ]
        return JSONResponse({"turns": turns}, headers={"Cache-Control": "no-store"})

    @app.get("/events")
    async def events(request: Request, last_event_id: Annotated[str, Header()] = "") -> Response:
        session = _session(request)
        if session is None:
            return _problem(401, "Open the page first: it gives you a session.")
        conversation = _conversation(session)
        is_resumed = re.fullmatch(r"\d+-\d+", last_event_id)
        after = last_event_id if is_resumed else await relay.position(conversation)
        return StreamingResponse(
            _follow(relay, conversation, after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        if any(found["type"].endswith("too_long") for found in error.errors()):
            megabytes = MAX_ATTACHMENT_BYTES // 1024**2
            return _problem(
                413,
                f"Too long: a message may have {MAX_TEXT_CHARACTERS:,} characters, a file {megabytes} MB.",
            )
        return _problem(400, "The message is not of the expected form.")

    @app.exception_handler(RedisError)
    async def unavailable(_: Request, error: Exception) -> Response:
        log.error("Redis cannot be reached; the browser was told to try again", reason=str(error))
        return _problem(503, "The message could not be stored. Please try again in a moment.")

    return app


async def _follow(relay: Relay, conversation: ConversationKey, after: str) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    async with aclosing(relay.follow(conversation, after)) as followed:
        async for item in followed:
            if item is None:  # a comment keeps proxies from closing a silent connection
                yield ": still here\n\n"
            else:
                yield f"id: {item[0]}\ndata: {json.dumps(item[1], ensure_ascii=False)}\n\n"


def _cookie(request: Request) -> str | None:
    found = request.cookies.get(_COOKIE, "")
    return found if _SESSION.fullmatch(found) else None


def _session(request: Request) -> str | None:
    """The session's name. The cookie is a credential, and names are stored: so a digest of it."""
    cookie = _cookie(request)
    return hashlib.sha256(cookie.encode()).hexdigest()[:32] if cookie else None


def _conversation(session: str) -> ConversationKey:
    return ConversationKey("web", "local", session)


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
