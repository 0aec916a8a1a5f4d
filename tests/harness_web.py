"""The web chat for the contract: a browser with the page open."""

import contextlib
import json

import aiohttp
from harness import ANNA, Harness, Post
from running import background
from web_chat import serving

from bots.platforms.web import create_app
from bots.relay import RelaySender

OWN_RELAY = "our own relay is never busy, and has no token"
ONE_PERSON = "a session is one person's"


class WebHarness(Harness):
    """A browser with the web chat open."""

    name = "web"
    lacks = {  # noqa: RUF012
        "silence": "the page sends no empty question",
        "patience": "who asks is told, and asks again",
        "bots_say": "nobody else writes in a session",
        "groups": ONE_PERSON,
        "pings": "nobody can be pinged",
        "busy": OWN_RELAY,
        "wrong_settings": OWN_RELAY,
    }

    def __init__(self, monkeypatch, tmp_path):
        self._events, self._number = [], 0

    @contextlib.asynccontextmanager
    async def receiving(self, store, registry):
        cookies, connector = aiohttp.CookieJar(unsafe=True), aiohttp.TCPConnector(force_close=True)
        async with (
            serving(create_app(store.intake, store.relay, store.history, store.vault)) as url,
            aiohttp.ClientSession(url, cookie_jar=cookies, connector=connector) as self._browser,
        ):
            await (await self._browser.get("/")).read()
            async with self._browser.get("/events") as response, background(self._follow(response)):
                yield

    async def _follow(self, response):
        async for line in response.content:
            if line.startswith(b"data: "):
                self._events.append(json.loads(line[6:]))

    @contextlib.asynccontextmanager
    async def sending(self, store):
        yield {"web": RelaySender(store.relay)}

    async def ask(self, text, *, person=ANNA, is_private=False, file=None, after=None):
        self._number += 1
        body = {"id": f"question-{self._number}", "text": text}
        if file:
            body["attachment"] = {"name": file[0], "text": file[1].decode()}
        return body, await self._post("messages", body)

    async def _post(self, path, body):
        async with self._browser.post(f"/{path}", json=body) as answered:
            assert answered.status == 202, await answered.text()
            return (await answered.json())["turn"]

    async def redeliver(self, question):
        await self._post("messages", question[0])

    async def edit(self, question, text):
        await self._post("edit", {"turn": question[1], "text": text})

    async def delete(self, question):
        await self._post("delete", {"turn": question[1]})

    async def stop(self, question):
        await self._post("stop", {"turn": question[1]})

    async def rate(self, question, *, is_helpful):
        await self._post("feedback", {"turn": question[1], "helpful": is_helpful})

    async def call(self, name, arguments):
        await self.ask(f"/{name} {' '.join(arguments.values())}")

    def _done(self):
        return [event for event in self._events if event["kind"] == "done"]

    def options(self):
        return [option for event in self._done() for option in event["options"]]

    async def choose(self, question, option):
        await self.ask(option)

    def posts(self):
        shown = {}
        for event in self._events:
            if event["kind"] == "deleted":
                shown.pop(event["turn"], None)
            elif event["kind"] in ("text", "done"):
                shown[event["turn"]] = event["text"]
        return [Post(*post) for post in shown.items()]

    def sources(self):
        return str([event["citations"] for event in self._done()])

    def files(self):
        return {event["name"]: event["text"] for event in self._events if event["kind"] == "file"}

    def outgoing(self):
        return [event["text"] for event in self._events if event["kind"] in ("text", "done")]
