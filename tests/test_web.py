"""The web chat's interface over real HTTP: sessions, accepted once, bad input, and what is stored."""

import asyncio
import base64
import contextlib
import io
import json
import re

import aiohttp
import pytest
from running import background
from scripted import ScriptedEngine, raw_redis, until_answered
from web_chat import Intake, serving

from bots import keys
from bots.build import build_worker
from bots.history import Turn
from bots.message import Author, Change, ConversationKey, Message, Rating, Reply
from bots.platforms.web import create_app
from bots.platforms.web_page import language_of, page_words
from bots.registry import Registry
from bots.relay import RelaySender
from engine.language.phrases import LANGUAGES, say
from engine.types import Citation, Progress

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
    app = create_app(store.intake, store.relay, store.history, store.vault)
    worker = build_worker(store, engine, Registry(), {"web": RelaySender(store.relay)})
    async with serving(app) as address, background(worker.run(asyncio.Event())):
        yield address


@pytest.fixture
async def intake(store):
    return Intake(store)


@pytest.fixture
async def quiet_url(store, intake):
    """The web chat without a worker."""
    app = create_app(intake, store.relay, store.history, store.vault, redis=store.redis)
    async with serving(app) as address:
        yield address


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
async def test_bad_input_says_what_is_wrong(quiet_url, body, status, words):
    async with browser(quiet_url) as client:
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


async def test_without_a_session_nothing_is_accepted_or_told(quiet_url):
    async with aiohttp.ClientSession(quiet_url) as client:
        assert (await client.post("/messages", json={"id": "question-1", "text": "hi"})).status == 401
        assert (await client.get("/events")).status == 401
        assert (await (await client.get("/history")).json()) == {"turns": []}


async def test_the_page_allows_no_script_but_its_own(quiet_url):
    async with aiohttp.ClientSession(quiet_url) as client:
        response = await client.get("/")
        policy = response.headers["Content-Security-Policy"]
        nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
        assert f'<script nonce="{nonce}"' in await response.text()
        assert "default-src 'none'" in policy
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()


async def asked(client, intake):
    """A question of this client's, as a worker gets it."""
    await client.post("/messages", json={"id": "question-1", "text": "How long?"})
    return await intake.asked()


class TestChanges:
    @pytest.mark.parametrize(
        ("path", "more", "text"),
        [("stop", {}, ""), ("delete", {}, ""), ("edit", {"text": " How much? "}, "How much?")],
    )
    async def test_a_question_of_ones_own_can_be_changed(self, quiet_url, intake, path, more, text):
        async with browser(quiet_url) as client:
            message = await asked(client, intake)
            response = await client.post(f"/{path}", json={"turn": message.id, **more})
            assert (response.status, await response.json()) == (202, {"turn": message.id})
        expected = Change(path, message.conversation, message.id, message.author.id, text)
        assert await intake.changed() == expected

    async def test_an_answer_of_ones_own_can_be_rated(self, quiet_url, intake):
        async with browser(quiet_url) as client:
            message = await asked(client, intake)
            assert (await client.post("/feedback", json={"turn": message.id, "helpful": False})).status == 202
        assert await intake.rated() == Rating(message.conversation, message.id, message.author.id, False)

    @pytest.mark.parametrize("path", ["stop", "delete", "edit", "feedback"])
    async def test_nobody_elses_can(self, quiet_url, intake, path):
        more = {"edit": {"text": "x"}, "feedback": {"helpful": True}}.get(path, {})
        async with browser(quiet_url) as anna, browser(quiet_url) as ben:
            message = await asked(anna, intake)
            response = await ben.post(f"/{path}", json={"turn": message.id, **more})
            assert response.status == 404
            async with aiohttp.ClientSession(quiet_url) as nobody:
                assert (await nobody.post(f"/{path}", json={"turn": message.id, **more})).status == 401
        assert intake.changes.empty()
        assert intake.ratings.empty()

    @pytest.mark.parametrize(
        ("path", "body"), [("edit", {"text": " "}), ("feedback", {}), ("stop", {"turn": 1})]
    )
    async def test_what_is_malformed_is_refused(self, quiet_url, intake, path, body):
        async with browser(quiet_url) as client:
            message = await asked(client, intake)
            assert (await client.post(f"/{path}", json={"turn": message.id, **body})).status == 400


class TestWhatChangesDo:
    """With the worker that `frontdesk worker` runs, holding in the middle of an answer."""

    @pytest.fixture
    def held(self, engine):
        """Set once the first answer has begun; it goes on only when it is begun again."""
        held = asyncio.Event()

        async def hold_once(step):
            if step == "streaming" and not held.is_set():
                held.set()
                await asyncio.Event().wait()

        engine._at = hold_once
        return held

    async def _end(self, client, held, kind, path, **more):
        """Ask, change the question while it is answered; the event that ends it."""
        waiting = asyncio.create_task(follow(client, kind))
        await asyncio.sleep(0.1)
        accepted = await client.post("/messages", json={"id": "question-1", "text": "How long?"})
        await asyncio.wait_for(held.wait(), 5)
        turn = (await accepted.json())["turn"]
        assert (await client.post(f"/{path}", json={"turn": turn, **more})).status == 202
        ended = (await asyncio.wait_for(waiting, 5))[-1][1]
        assert ended["turn"] == turn
        return ended

    async def test_a_stopped_answer_keeps_what_was_said(self, url, held):
        async with browser(url) as client:
            done = await self._end(client, held, "done", "stop")
        assert done["decision"] == "stopped"
        assert done["text"].startswith("You have 30 days")
        assert done["text"].endswith(say("stopped", "en"))

    async def test_an_edited_question_is_answered_instead(self, url, held, engine):
        async with browser(url) as client:
            done = await self._end(client, held, "done", "edit", text="How much?")
        assert (done["question"], done["text"]) == ("How much?", ANSWER)
        assert engine.asked == ["How long?", "How much?"]

    async def test_of_a_deleted_question_nothing_stays(self, url, held, store):
        async with browser(url) as client:
            await self._end(client, held, "deleted", "delete")
            await until_answered(store)
            assert (await (await client.get("/history")).json())["turns"] == []


class TestLanguage:
    @pytest.mark.parametrize(
        ("header", "language"),
        [
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("it,fr;q=0.5,en;q=0.4", "fr"),
            ("en;q=0.3, zh-Hant-TW ; q=0.7", "zh"),
            ("es;q=0, it", "en"),
            ("*", "en"),
            ("", "en"),
            (",;q=,ja;q=2,\u00e9", "en"),
        ],
    )
    def test_it_is_the_browsers_where_the_phrases_have_it(self, header, language):
        assert language_of(header) == language

    async def test_the_page_and_its_problems_are_in_it(self, quiet_url):
        async with aiohttp.ClientSession(quiet_url, headers={"Accept-Language": "de"}) as client:
            page = await (await client.get("/")).text()
            assert '<html lang="de">' in page
            assert page_words("de")["web_welcome"] in page
            assert page_words("en")["web_welcome"] not in page
            problem = await (await client.post("/stop", json={"turn": "web:x"})).json()
            assert problem == {"error": say("web_no_session", "de")}

    @pytest.mark.parametrize("language", LANGUAGES)
    async def test_the_page_has_all_its_words(self, quiet_url, language):
        async with aiohttp.ClientSession(quiet_url, headers={"Accept-Language": language}) as client:
            page = await (await client.get("/")).text()
        assert "{{" not in page
        data = json.loads(page.partition('type="application/json">')[2].partition("</script>")[0])
        used = set(re.findall(r"""(?:words\.|tell\(")(\w+)""", page))
        assert len(used) > 20
        assert used <= set(data["words"])

    async def test_a_suggestion_cannot_end_the_pages_script(self, store, intake):
        question = "</script><script>alert(1)</script>"
        app = create_app(intake, store.relay, store.history, store.vault, suggestions=[question])
        async with serving(app) as address, aiohttp.ClientSession(address) as client:
            page = await (await client.get("/")).text()
        assert question not in page
        data = json.loads(page.partition('type="application/json">')[2].partition("</script>")[0])
        assert data["suggestions"] == [question]


class TestMetrics:
    async def test_they_are_told_on_this_machine(self, quiet_url):
        async with aiohttp.ClientSession(quiet_url) as client:
            response = await client.get("/metrics")
            assert response.status == 200
            assert response.content_type == "text/plain"
            assert "# TYPE frontdesk_" in await response.text()

    @pytest.mark.parametrize(
        "header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"]
    )
    async def test_a_proxy_gets_none(self, quiet_url, header):
        async with aiohttp.ClientSession(quiet_url, headers={header: "127.0.0.1"}) as client:
            unknown = await client.get("/nothing-here")
            refused = await client.get("/metrics")
            assert (refused.status, await refused.json()) == (404, await unknown.json())

    async def test_another_machine_gets_none(self, store, intake):
        app = create_app(intake, store.relay, store.history, store.vault, redis=store.redis)
        for client in [("203.0.113.7", 4000), ("unix", 0), None]:
            scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": [], "query_string": b""}
            sent = []

            async def send(event, sent=sent):
                sent.append(event)

            await app({**scope, "client": client}, None, send)
            assert sent[0]["status"] == 404


async def test_values_come_back_in_quotations_and_in_the_question(url, store, engine):
    card = "4111 1111 1111 1111"
    async with browser(url) as client:
        accepted = await client.post(
            "/messages", json={"id": "question-1", "text": f"My card {card} is lost."}
        )
        turn = (await accepted.json())["turn"]
        while len((await (await client.get("/history")).json())["turns"]) < 2:
            await asyncio.sleep(0.05)
        seen = (await follow(client, "done", last_event_id="0-0"))[-1][1]
        assert seen["question"] == f"My card {card} is lost."
        [conversation] = [
            ConversationKey.parse(key.decode().removeprefix(keys.HISTORIES))
            for key in await store.redis.keys(f"{keys.HISTORIES}*")
        ]
        # A quotation of something that the customer sent holds placeholders, as what is stored does.
        [placeholder] = await store.vault.values(conversation, conversation.channel)
        citation = Citation("letter.txt", "", 0, 9, f"Card {placeholder}.")
        again = Message(turn, conversation, Author(conversation.channel), "", True)
        position = await store.relay.position(conversation)
        await RelaySender(store.relay).finish(again, [], Reply("It is.", citations=(citation,)), [])
        told = await follow(client, "done", last_event_id=position)
        assert told[-1][1]["citations"][0]["quote"] == f"Card {card}."
        turns = [
            Turn("assistant", "It is.", Author(conversation.channel), ({"quote": f"Card {placeholder}."},))
        ]
        await store.history.append(conversation, turns)
        shown = (await (await client.get("/history")).json())["turns"][-1]
        assert shown["citations"] == [{"quote": f"Card {card}."}]
