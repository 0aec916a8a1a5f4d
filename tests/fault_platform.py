"""The local Discord or Slack in a process of its own: with delays, faults, and a record of what was shown.

A station stands before every call. It knows the protocols' paths only as far as it must to tell a post from
an edit; what was shown it reads from the server's own messages after the call took effect.
"""

import asyncio
import json
import os
import random
import sys
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

from aiohttp import web
from discord_server import DiscordServer
from fault_record import Record
from slack_server import SlackServer

FIRST_DISCORD_CHANNEL = 1_200_000_000_000_000_000


SLACK_ACTS = {
    "chat.postMessage": "post",
    "chat.startStream": "post",
    "chat.update": "edit",
    "chat.appendStream": "edit",
    "chat.stopStream": "edit",
    "chat.delete": "delete",
}


def channel_name(platform, number):
    return str(FIRST_DISCORD_CHANNEL + number) if platform == "discord" else f"C{5000 + number}"


class DiscordPlatform:
    """Discord's server, and where things are in its protocol."""

    name = "discord"

    def __init__(self, channels):
        self.server = DiscordServer()
        for number in range(channels):
            self.server._add_channel(
                FIRST_DISCORD_CHANNEL + number, 0, name=f"load-{number}", position=number
            )

    def about(self):
        """The settings with which frontdesk finds it."""
        gateway = self.server.gateway_url
        return {
            "discord_token": self.server.token,
            "discord_api_url": self.server.rest_url,
            "discord_gateway_url": gateway,
        }

    async def act(self, request):
        """What a call does (`post`, `edit`, or nothing that shows) and where."""
        parts = request.path.split("/")
        if "messages" not in parts or "channels" not in parts:
            return "", ""
        channel = parts[parts.index("channels") + 1]
        return {"POST": "post", "PATCH": "edit", "DELETE": "delete"}.get(request.method, ""), channel

    def shown(self, channel):
        """What the bot's posts in a channel show: id, text, and the marks by which it knows them."""
        bot = str(self.server.bot_id)
        for message in self.server.messages[int(channel)]:
            if message["author"]["id"] == bot:
                yield message["id"], message["content"], [str(message.get("nonce", ""))]

    def refusal(self, status, retry_after):
        """An answer without effect."""
        headers = {"Via": "1.1 google", "Retry-After": str(retry_after)} if status == 429 else {}
        body = {"message": "refused", "code": 0, "retry_after": retry_after, "global": False}
        body = json.dumps(body).encode()
        return web.Response(status=status, body=body, headers=headers, content_type="application/json")


class SlackPlatform:
    """Slack's server, and where things are in its protocol. Each load channel has one thread."""

    name = "slack"

    def __init__(self, channels):
        self.server = SlackServer(echo=False)
        self.server.subscriptions = set()
        self.threads = {}
        for number in range(channels):
            name = channel_name("slack", number)
            self.server.add_channel(name, f"load-{number}")
            root = {
                "type": "message",
                "text": "hello",
                "ts": self.server.new_ts(),
                "user": self.server.user_id,
            }
            self.server.messages[name].append(root)
            self.threads[name] = root["ts"]

    def about(self):
        """The settings with which frontdesk finds it."""
        tokens = {"slack_bot_token": self.server.bot_token, "slack_app_token": self.server.app_token}
        return {**tokens, "slack_api_url": self.server.api_url}

    async def act(self, request):
        """What a call does (`post`, `edit`, or nothing that shows) and where."""
        act = SLACK_ACTS.get(request.path.rpartition("/")[2], "")
        if not act:
            return "", ""
        content = await request.read()
        if request.content_type == "application/json":
            return act, json.loads(content).get("channel", "")
        return act, parse_qs(content.decode()).get("channel", [""])[0]

    def shown(self, channel):
        """What the bot's posts in a channel show: id, text, and the marks by which it knows them."""
        for message in self.server.messages.get(channel, ()):
            if message.get("bot_id") == self.server.bot_id:
                payload = (message.get("metadata") or {}).get("event_payload", {})
                yield message["ts"], message.get("text") or "", list(map(str, payload.values()))

    def refusal(self, status, retry_after):
        """An answer without effect."""
        if status == 429:
            headers = {"Retry-After": str(max(1, round(retry_after)))}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
        return web.Response(status=status, body=b"<p>upstream error</p>", content_type="text/html")


PLATFORMS = {"discord": DiscordPlatform, "slack": SlackPlatform}


class Station:
    """Before every call: delays, faults and the record.

    `rules`: `before_ms` and `after_ms` the effect; `share` of posts and edits that meet one of `faults`
    (429, 500, hang, reset; half of those but 429 take effect first); `hung` channels do not answer before
    `hung_seconds` have passed since their first call; `retry_after` and `hang_seconds`; `seed`.
    """

    def __init__(self, platform, record, rules):
        self._platform, self._record, self._rules = platform, record, rules
        self._random = random.Random(rules.get("seed", 0))
        self._known = {}
        self._refused_until = {}
        self._hung_since = {}

    def install(self):
        """Have every server of this process, which has one, pass through here."""

        @web.middleware
        async def station(request, handler):
            return await self.pass_through(request, handler)

        class Runner(web.AppRunner):
            def __init__(self, app, **options):
                app.middlewares.append(station)
                super().__init__(app, **options)

        web.AppRunner = Runner

    async def pass_through(self, request, handler):
        """Middleware: the call, as slow and as faulty as the rules say."""
        act, channel = await self._platform.act(request)
        if not act:
            return await handler(request)
        if self._platform.name == "slack":  # its limits are those of a method
            act = request.path.rpartition("/")[2]
        self._record.write("call", channel=channel, act=act)
        await asyncio.sleep(self._rules.get("before_ms", 0) / 1000)
        await self._hang(channel)
        fault = self._fault(act, channel)
        if fault == "429":
            return self._refuse(channel, act)
        takes_effect = fault in (None, "reset") or self._random.random() < 0.5
        try:
            response = await handler(request) if takes_effect else self._platform.refusal(500, 0)
        except ConnectionResetError:  # whoever called was killed
            return web.Response()
        self._note(channel)
        if fault == "500":
            response = self._platform.refusal(500, 0)
        if fault == "hang":
            await asyncio.sleep(self._rules.get("hang_seconds", 3))
        if fault in ("hang", "reset"):
            if request.transport:
                request.transport.abort()
            return response
        await asyncio.sleep(self._rules.get("after_ms", 0) / 1000)
        return response

    async def _hang(self, channel):
        if channel in self._rules.get("hung", ()):
            now = asyncio.get_running_loop().time()
            since = self._hung_since.setdefault(channel, now)
            await asyncio.sleep(max(0, since + self._rules["hung_seconds"] - now))

    def _fault(self, act, channel):
        if asyncio.get_running_loop().time() < self._refused_until.get((channel, act), 0):
            return "429"
        if self._rules.get("faults") and self._random.random() < self._rules["share"]:
            return self._random.choice(self._rules["faults"])
        return None

    def _refuse(self, channel, act):
        """Too many: and so is every further call until the wait is over."""
        now, wait = asyncio.get_running_loop().time(), self._rules.get("retry_after", 1)
        until = self._refused_until.get((channel, act), 0)
        if now >= until:
            self._refused_until[channel, act] = until = now + wait
        self._record.write("refused", channel=channel, act=act, retry_after=until - now)
        return self._platform.refusal(429, max(until - now, 0.05))

    def _note(self, channel):
        """Record what has changed in a channel."""
        known = self._known.setdefault(channel, {})
        now = {}
        for ref, text, marks in self._platform.shown(channel):
            now[ref] = text
            if ref not in known:
                self._record.write("post", channel=channel, ref=ref, text=text, marks=marks)
            elif known[ref] != text:
                self._record.write("edit", channel=channel, ref=ref, text=text)
        for ref in known.keys() - now.keys():
            self._record.write("delete", channel=channel, ref=ref)
        self._known[channel] = now


@asynccontextmanager
async def serving(config, record):
    """The platform, running: how frontdesk finds it."""
    platform = PLATFORMS[config["platform"]](config["channels"])
    Station(platform, record, config.get("rules", {})).install()
    async with platform.server:
        yield {"settings": platform.about(), "threads": getattr(platform, "threads", {})}


def run(config, ready):
    """Serve until killed; `ready` is told how to find it."""

    async def serve():
        async with serving(config, Record(config["record"])) as about:
            ready(about)
            await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    run(json.loads(sys.argv[1]), lambda about: os.write(1, f"{json.dumps(about)}\n".encode()))
