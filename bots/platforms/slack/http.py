"""HTTP mode: Slack posts events, commands and clicks to an address of ours, and people install the app there.

`/slack/events` takes everything that Slack sends, signed; `/slack/install` and `/slack/oauth_redirect` put
the app into a workspace; `/health` says that the server runs. A request is answered within a second whatever
Redis does: with 503 when it could not be stored, so that Slack sends it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Generator

import uvicorn
from fastapi import FastAPI, Request, Response
from redis.exceptions import RedisError
from slack_bolt.adapter.starlette.async_handler import to_async_bolt_request, to_starlette_response
from slack_bolt.async_app import AsyncApp
from slack_bolt.oauth.async_oauth_flow import AsyncOAuthFlow
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier

from bots.errors import StartError
from bots.platforms.slack.calls import NO_ANSWER
from bots.pulse import Pulse
from engine.log import logger

log = logger("bots.slack")

ANSWER_SECONDS = 0.8
"""For storing one request: Slack waits three seconds, and asks again when it hears 503."""
_MOST_BYTES = 1024 * 1024


class HttpServer:
    """Slack's requests, until cancelled.

    Without `signing_secret` it serves installations alone: events come by Socket Mode then.
    """

    def __init__(
        self, host: str, port: int, pulse: Pulse, signing_secret: str | None, flow: AsyncOAuthFlow | None
    ) -> None:
        if signing_secret is not None and not signing_secret.strip():
            raise StartError("FRONTDESK_SLACK_SIGNING_SECRET is empty: anybody could send events")
        self._host, self._port, self._pulse = host, port, pulse
        self._verifier = SignatureVerifier(signing_secret) if signing_secret else None
        self._flow = flow

    async def run(self, app: AsyncApp) -> None:
        """Serve until cancelled. Raises `StartError` when the port cannot be used."""
        config = uvicorn.Config(
            self.web(app), log_config=None, access_log=False, timeout_graceful_shutdown=1, lifespan="off"
        )
        server, listening = _Server(config), self._bind()
        serving = asyncio.create_task(server.serve([listening]))
        if self._verifier is not None:
            self._pulse.connected()
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            while not serving.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({serving})
            listening.close()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self._port), family=family)
        except OSError as error:
            raise StartError(
                f"port {self._port} on {self._host} cannot be used ({error.strerror}): stop what uses it, or "
                "set FRONTDESK_SLACK_PORT"
            ) from error

    def web(self, app: AsyncApp) -> FastAPI:
        """The server's routes."""
        web = FastAPI(openapi_url=None)

        @web.get("/health")
        async def health() -> dict[str, str]:
            return {"status": "ok"}

        if self._verifier is not None:

            @web.post("/slack/events")
            async def events(request: Request) -> Response:
                return await self._take(app, request)

        if self._flow is not None:
            self._add_installation(web, self._flow)
        return web

    async def _take(self, app: AsyncApp, request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return Response(status_code=413)
        if not self._is_from_slack(request, body):
            return Response(status_code=401)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await app.async_dispatch(to_async_bolt_request(request, body))
        except TimeoutError:
            log.error("a request of Slack could not be stored in time; Slack will send it again")
            return Response(status_code=503)
        return to_starlette_response(answer)

    def _is_from_slack(self, request: Request, body: bytes) -> bool:
        """Signature v0 over the raw body, at most five minutes old or ahead.

        The SDK's verifier raises for a timestamp that is no number, or no clock's, and for bytes that are no
        text: none of that comes from Slack.
        """
        assert self._verifier is not None
        timestamp = request.headers.get("x-slack-request-timestamp")
        signature = request.headers.get("x-slack-signature")
        try:
            return self._verifier.is_valid(body, timestamp, signature)
        except (ValueError, TypeError, OverflowError):
            return False

    @staticmethod
    def _add_installation(web: FastAPI, flow: AsyncOAuthFlow) -> None:
        @web.get(flow.install_path)
        async def install(request: Request) -> Response:
            return await _guarded(flow.handle_installation(to_async_bolt_request(request, b"")))

        @web.get(flow.redirect_uri_path)
        async def redirect(request: Request) -> Response:
            return await _guarded(flow.handle_callback(to_async_bolt_request(request, b"")))


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _body(request: Request) -> bytes | None:
    """The whole body; None when it is larger than anything that Slack sends."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            return None
    return bytes(body)


async def _guarded(answering: Awaitable[BoltResponse]) -> Response:
    try:
        return to_starlette_response(await answering)
    except (RedisError, *NO_ANSWER) as error:
        log.error("the app could not be installed", reason=str(error))
        return Response("The app could not be installed; please try again.", status_code=503)
