"""Slack for the contract: a channel in which the bot is mentioned, its threads, and direct messages."""

import contextlib
import html
import json
import re

import aiohttp
from harness import ANNA, BEN, Harness, Post
from running import background, free_port
from scripted import until
from slack_receiver import receiver_for, receiving, settings_for
from slack_server import SlackServer

from bots.platforms.slack import open_sender


def strings(value):
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(inner)


def _says(post):
    """Beside blocks, `text` only notifies."""
    return post["blocks"][0]["text"] if post.get("blocks") else post["text"]


class SlackHarness(Harness):
    """A channel in which the bot is mentioned, threads of it, and direct messages, by Socket Mode."""

    name, limit = "slack", 12_000
    make_server = SlackServer

    def __init__(self, monkeypatch, tmp_path):
        self._people = {ANNA: "UANNA", BEN: "UBEN"}

    async def __aenter__(self):
        self.server = await self.make_server(ack_timeout=1.0).__aenter__()
        self.server.add_user("UBEN", BEN)
        return self

    async def __aexit__(self, *_):
        await self.server.__aexit__()

    def receiving(self, store, registry):
        return receiving(self.server, store, registry=registry)

    @contextlib.asynccontextmanager
    async def sending(self, store):
        sender = await open_sender(settings_for(self.server), store)
        try:
            yield {"slack": sender}
        finally:
            await sender.close()

    def wrong_settings(self):
        return settings_for(self.server, slack_bot_token="xoxb-wrong")

    async def ask(self, text, *, person=ANNA, is_private=False, file=None, after=None):
        user = self._people[person]
        channel = self.server.open_dm(user) if is_private else self.server.channel_id
        thread = {"thread_ts": after["thread_ts"] if "thread_ts" in after else after["ts"]} if after else {}
        return await self.server.say(
            channel, text, user, mention=not is_private, files=[file] if file else None, **thread
        )

    async def redeliver(self, question):
        await self.server.delivered()
        for envelope in list(self.server.envelopes):
            event = envelope["payload"].get("event", {})
            if event.get("ts") == question["ts"] and "subtype" not in event:
                await self.server.redeliver(envelope)

    async def bots_say(self, text):
        about = {"type": "app_mention", "channel": self.server.channel_id, "channel_type": "channel"}
        mention = f"<@{self.server.bot_user_id}> {text}"
        for who in ({"user": "UOTHER", "bot_id": "B900"}, {"user": "UBOT", "bot_id": self.server.bot_id}):
            await self.server.event({**about, **who, "text": mention, "ts": self.server.new_ts()})
            await self.server.event(
                {**about, **who, "type": "message", "text": mention, "ts": self.server.new_ts()}
            )
        await self.server.delivered()

    async def edit(self, question, text):
        self.server.rewrite(self.server.channel_id, question["ts"], f"<@{self.server.bot_user_id}> {text}")

    async def delete(self, question):
        self.server.remove(self.server.channel_id, question["ts"])

    async def stop(self, question):
        await self.server.stop(self.server.channel_id, question["ts"])

    async def rate(self, question, *, is_helpful):
        def found():
            return next((e for e in self._elements() if e["type"] == "feedback_buttons"), None)

        rating = await self.server.wait_for(found)
        pressed = rating["positive_button" if is_helpful else "negative_button"]
        await self._press({**rating, "value": pressed["value"]})

    async def _press(self, action):
        post = next(post for post in self._shown() if post.get("blocks"))
        action = {**action, "action_ts": self.server.new_ts()}
        assert await self.server.interact({"actions": [action], "message": post})

    def options(self):
        return list(self._options())

    async def choose(self, question, option):
        await self._press(self._options()[option])

    def _options(self):
        return {e["text"]["text"]: e for e in self._elements() if e["type"] == "button"}

    def _elements(self):
        blocks = [block for post in self._shown() for block in post.get("blocks", ())]
        return [e for block in blocks for e in block.get("elements", ())]

    async def call(self, name, arguments):
        assert await self.server.slash(f"/{name}", "", self.server.channel_id)
        await self.server.wait_for(lambda: self.server.views)
        assert await self.server.submit(self.server.views.popitem()[1], arguments)

    def _shown(self):
        everything = [post for posts in self.server.messages.values() for post in posts]
        return [post for post in everything if post.get("bot_id") == self.server.bot_id]

    def posts(self):
        return [Post(post["ts"], html.unescape(_says(post))) for post in self._shown() if _says(post)]

    def sources(self):
        return "\n".join(e["text"] for e in self._elements() if e["type"] == "mrkdwn")

    def files(self):
        shared = [file for post in self._shown() for file in post.get("files", ())]
        return {file["title"]: self.server.files[file["id"]].decode() for file in shared}

    def _sent(self):
        return [call.args for call in self.server.calls if call.method.startswith("chat.")]

    def outgoing(self):
        return [text for args in self._sent() for text in strings(args)]

    def mentions(self):
        return "<@UANNA> <@UBOT> <#C100> @Anna"

    def pings(self):
        shown = [args for args in self._sent() if args.keys() & {"text", "markdown_text", "blocks"}]
        live = [text for args in shown for text in strings(args) if re.search(r"<[@#!]", text)]
        posted = [call.args for call in self.server.calls if call.method == "chat.postMessage"]
        loud = [args for args in posted if str(args.get("link_names", "0")).lower() not in ("0", "false")]
        unfurled = [args for args in posted if {args.get("unfurl_links"), args.get("unfurl_media")} - {False}]
        return live + loud + unfurled

    def busy(self):
        for method in ("chat.startStream", "chat.postMessage"):
            self.server.limit(method, self.server.channel_id, 0.5)
        return lambda: len(self.server.limits) < 2 and not self.server.too_early


class HttpSlackServer(SlackServer):
    """Sends what happens to the app's own address, signed, instead of through a socket."""

    url = ""

    async def _send(self, envelope):
        self.envelopes.append(envelope)
        body = envelope["payload"]
        try:
            if envelope["type"] == "events_api":
                status, text = await self.post_event(self.url, body, retry=envelope["retry_attempt"])
            else:
                status, text = await self.post_form(self.url, body)
        except aiohttp.ClientError:
            return None
        is_json = text.startswith("{")
        return {"payload": json.loads(text) if is_json else None} if status == 200 else None


class HttpSlackHarness(SlackHarness):
    """The same by HTTP."""

    make_server = HttpSlackServer

    def _settings(self, **changes):
        by_http = {"slack_app_token": None, "slack_signing_secret": self.server.signing_secret}
        return {**by_http, "slack_port": self._port, **changes}

    @contextlib.asynccontextmanager
    async def receiving(self, store, registry):
        self._port = free_port()
        url = f"http://127.0.0.1:{self._port}"
        self.server.url = f"{url}/slack/events"
        receiver = receiver_for(self.server, store, registry=registry, **self._settings())
        async with background(receiver.run_forever()), aiohttp.ClientSession() as session:
            await until(lambda: _is_up(session, url))
            yield

    def wrong_settings(self):
        self._port = free_port()
        return settings_for(self.server, **self._settings(slack_bot_token="xoxb-wrong"))


async def _is_up(session, url):
    try:
        async with session.get(f"{url}/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
