"""The web chat's interface over real HTTP: sessions, accepted once, bad input, and what is stored."""

import asyncio
import base64
import contextlib
import io
import json

import aiohttp
import pytest
import uvicorn
from running import background
from scripted import ScriptedEngine, raw_redis

from bots.build import build_worker
from bots.platforms.web import create_app
from bots.registry import Registry
from bots.relay import RelaySender
from engine.types import Progress

ANSWER = "You have 30 days to return it, and the postage is ours."


class Reading(ScriptedEngine):
    """Tells some steps before it answers."""

    steps = ()

    async def chat(self, request):
        for step in self.steps:
            yield step
        async with contextlib.aclosing(super().chat(request)) as pieces:
            async for piece in pieces:
                yield piece


@pytest.fixture
def engine():
    return Reading(ANSWER)


@pytest.fixture
async def url(store, engine):
    app = create_app(store.intake.receive, store.relay, store.history, store.vault)
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    worker = build_worker(store, engine, Registry(), {"web": RelaySender(store.relay)}, with_jobs=False)
    stop = asyncio.Event()
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    async with background(worker.run(stop)) as working:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        stop.set()
        await working
    server.should_exit = True
    await serving


@contextlib.asynccontextmanager
async def browser(url):
    """A client with a session."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(
        url, cookie_jar=aiohttp.CookieJar(unsafe=True), connector=connector
    ) as client:
        await (await client.get("/")).read()
        yield client


async def post(client, body):
    """Large bodies go as files: aiohttp warns of them otherwise."""
    content = io.BytesIO(json.dumps(body).encode())
    return await client.post("/messages", data=content, headers={"Content-Type": "application/json"})


async def follow(client, kind, last_event_id=""):
    """Events up to one of this kind; the ids beside them."""
    found = []
    async with client.get("/events", headers={"Last-Event-ID": last_event_id}) as response:
        event_id = ""
        async for line in response.content:
            if line.startswith(b"id: "):
                event_id = line[4:].decode().strip()
            if line.startswith(b"data: "):
                found.append((event_id, json.loads(line[6:])))
                if found[-1][1]["kind"] == kind:
                    return found
    return found


async def test_a_question_is_answered_by_events_and_kept_in_the_history(url):
    async with browser(url) as client:
        waiting = asyncio.create_task(follow(client, "done"))
        await asyncio.sleep(0.1)
        accepted = await client.post("/messages", json={"id": "question-1", "text": "How long?"})
        assert accepted.status == 202
        events = await asyncio.wait_for(waiting, 10)
        assert events[-1][1]["text"] == ANSWER
        assert events[-1][1]["turn"] == (await accepted.json())["turn"]
        while len(turns := (await (await client.get("/history")).json())["turns"]) < 2:
            await asyncio.sleep(0.05)
        assert [turn["text"] for turn in turns] == ["How long?", ANSWER]
        again = await follow(client, "done", last_event_id=events[0][0])
        assert again[-1] == events[-1]


async def test_the_same_id_is_answered_once_and_another_session_has_its_own(url, store):
    async with browser(url) as anna, browser(url) as ben:
        for client in (anna, anna, ben):
            assert (await client.post("/messages", json={"id": "the-same-id", "text": "hi?"})).status == 202
        for client in (anna, ben):
            while len(turns := (await (await client.get("/history")).json())["turns"]) < 2:
                await asyncio.sleep(0.05)
            assert len(turns) == 2


async def test_the_cookie_is_stored_nowhere(url, store):
    async with browser(url) as client:
        [cookie] = client.cookie_jar
        await client.post("/messages", json={"id": "question-1", "text": "hi?"})
        while await store.inbox.backlog():
            await asyncio.sleep(0.05)
    stored = await raw_redis(store.redis)
    assert cookie.value[:12] not in stored


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"id": "question-1", "text": "  "}, 400, "empty"),
        ({"id": "x", "text": "hi"}, 400, "form"),
        ({"id": "question-1", "text": "x" * 100_001}, 413, "Too long"),
        (
            {"id": "question-1", "text": "hi", "attachment": {"name": "a", "text": "x" * (10 * 2**20 + 1)}},
            413,
            "10 MB",
        ),
        ([], 400, "form"),
    ],
)
async def test_bad_input_says_what_is_wrong(url, body, status, words):
    async with browser(url) as client:
        response = await post(client, body)
        assert response.status == status
        assert words in (await response.json())["error"]


@pytest.mark.parametrize("form", ["text", "content"])
async def test_a_file_of_megabytes_is_taken_and_reaches_the_engine_whole(url, engine, form):
    text = "The deposit is nine hundred euros.\n" * 60_000
    given = {"text": text, "content": base64.b64encode(text.encode()).decode()}[form]
    async with browser(url) as client:
        waiting = asyncio.create_task(follow(client, "done"))
        await asyncio.sleep(0.1)
        body = {"id": "question-1", "text": "", "attachment": {"name": "lease.txt", form: given}}
        assert (await post(client, body)).status == 202
        await asyncio.wait_for(waiting, 20)
    assert [(file.name, file.text) for file in engine.requests[0].files] == [("lease.txt", text)]


async def test_a_file_that_is_no_text_is_told_in_the_chat(url):
    picture = base64.b64encode(b"\x89PNG\x00\xff").decode()
    async with browser(url) as client:
        waiting = asyncio.create_task(follow(client, "done"))
        await asyncio.sleep(0.1)
        body = {"id": "question-1", "attachment": {"name": "photo.png", "content": picture}}
        assert (await client.post("/messages", json=body)).status == 202
        events = await asyncio.wait_for(waiting, 10)
    assert "photo.png" in events[-1][1]["text"]


async def test_how_far_the_reading_is_comes_as_an_event_of_its_own(url, engine):
    engine.steps = [Progress(0, 2), Progress(1, 2)]
    async with browser(url) as client:
        waiting = asyncio.create_task(follow(client, "done"))
        await asyncio.sleep(0.1)
        await client.post("/messages", json={"id": "question-1", "text": "How long?"})
        events = [event for _, event in await asyncio.wait_for(waiting, 10)]
    found = next(event for event in events if event["kind"] == "progress")
    assert (found["text"], found["done"], found["total"]) == ("Reading the text: 0 of 2", 0, 2)
    assert events[-1]["text"] == ANSWER


async def test_without_a_session_nothing_is_accepted_or_told(url):
    async with aiohttp.ClientSession(url) as client:
        assert (await client.post("/messages", json={"id": "question-1", "text": "hi"})).status == 401
        assert (await client.get("/events")).status == 401
        assert (await (await client.get("/history")).json()) == {"turns": []}


async def test_the_page_allows_no_script_but_its_own(url):
    async with aiohttp.ClientSession(url) as client:
        response = await client.get("/")
        policy = response.headers["Content-Security-Policy"]
        nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
        assert f'<script nonce="{nonce}"' in await response.text()
        assert "default-src 'none'" in policy
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
