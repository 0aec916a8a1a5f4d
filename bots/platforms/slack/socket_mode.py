"""Socket Mode: events over a WebSocket that we open, so that no address of ours need be public.

The SDK reconnects when a line breaks. It does not see a socket that answers its pings while Slack sends
nothing any more (bolt-python issue 1246): Slack pings several times a minute, and that is what is watched.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.socket_mode.aiohttp import SocketModeClient

from bots.platforms.slack.calls import check_token
from bots.pulse import Pulse
from bots.tasks import beside

SILENT_SECONDS = 60.0
"""Without a word from Slack a line counts as dead. Slack's own JavaScript client waits 30 s for a ping."""
_PING_SECONDS = 10.0
_HEARD = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING)
_ADVICE = (
    "make one with the scope connections:write under Basic Information, and put it into "
    "FRONTDESK_SLACK_APP_TOKEN."
)


class _HearingSocket(aiohttp.ClientWebSocketResponse):
    """Remembers when Slack last said something of its own accord; answers to our pings do not count."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.heard_at: float | None = None

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:
        message = await super().receive(timeout)
        if message.type in _HEARD:
            self.heard_at = asyncio.get_running_loop().time()
        return message


class SocketMode:
    """One connection, watched. Reports to `pulse` when it stands and when it is lost."""

    def __init__(
        self,
        app_token: str,
        pulse: Pulse,
        *,
        silent_seconds: float = SILENT_SECONDS,
        ping_seconds: float = _PING_SECONDS,
    ) -> None:
        self._app_token, self._pulse = app_token, pulse
        self._silent_seconds, self._ping_seconds = silent_seconds, ping_seconds

    async def run(self, app: AsyncApp) -> None:
        """Receive until cancelled. Raises `WrongToken`, and `PlatformBusy` at the start.

        The token is tried before: the SDK would try a wrong one again for ever.
        """
        opening = app.client.apps_connections_open(app_token=self._app_token)
        await check_token(opening, "app-level token", _ADVICE)
        while True:
            handler = AsyncSocketModeHandler(app, self._app_token, ping_interval=self._ping_seconds)
            try:
                await self._hold(handler)
            finally:
                await handler.close_async()  # type: ignore[no-untyped-call]

    async def _hold(self, handler: AsyncSocketModeHandler) -> None:
        """Connect and watch until the line is as good as dead.

        A whole new client is needed then: the SDK's may hang on an address that Slack takes no more, and
        would close whatever line we open beside it.
        """
        client = handler.client
        await client.aiohttp_client_session.close()
        client.aiohttp_client_session = aiohttp.ClientSession(ws_response_class=_HearingSocket)
        async with beside(handler.connect_async()):  # type: ignore[no-untyped-call]
            await self._watch(client)

    async def _watch(self, client: SocketModeClient) -> None:
        """Look again and again; return when nothing was heard for too long."""
        clock = asyncio.get_running_loop().time
        stood_at = clock()
        while clock() - stood_at <= self._silent_seconds:
            stood_at = self._look(client) or stood_at
            await asyncio.sleep(min(1.0, self._silent_seconds / 10))
        self._pulse.lost(f"nothing heard for {self._silent_seconds:g} s", "silent")

    def _look(self, client: SocketModeClient) -> float | None:
        """When the line was last known to stand; None while there is none."""
        line = client.current_session
        if line is None:  # the SDK tries to connect
            return None
        if line.closed:
            self._pulse.lost("the line was closed")
            return None
        if not isinstance(line, _HearingSocket):  # the SDK had to make a session of its own
            return asyncio.get_running_loop().time()
        if line.heard_at is not None:
            self._pulse.connected()
        return line.heard_at
