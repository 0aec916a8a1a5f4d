"""The engine over real HTTP, asked by the real `openai` client and by our own."""

import asyncio
import contextlib

import aiohttp
import openai
import pytest
import uvicorn

from engine.client import EngineClient
from engine.errors import (
    BadRequest,
    ContextTooLong,
    RemoteFailed,
    Unauthorised,
    Unavailable,
)
from engine.generation import Ended
from engine.generation.local import BatchLimits, LocalGenerator
from engine.health import Readiness
from engine.server import check_bind, create_app
from engine.types import (
    ChatRequest,
    ChatTurn,
    Outcome,
    Progress,
    Sampling,
    TextFile,
    TokenLogprob,
    Usage,
    Window,
)

KEY = "a-long-enough-key"
MODEL = "frontdesk-starter"
RETURN = "How long do I have to return something?"
ASK = [{"role": "user", "content": RETURN}]
FREELY = {"frontdesk": {"knowledge": False}}
LONG = ChatRequest((ChatTurn("user", "go on"),), Sampling(max_tokens=900, ignore_eos=True), knowledge=False)


@contextlib.asynccontextmanager
async def serving(service, key=KEY):
    """The application behind uvicorn on a free port: its address."""
    config = uvicorn.Config(
        create_app(service, key=key), host="127.0.0.1", port=0, ws="none", log_config=None, lifespan="on"
    )
    server = uvicorn.Server(config)
    with server_socket(config) as socket:
        task = asyncio.create_task(server.serve(sockets=[socket]))
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@contextlib.contextmanager
def server_socket(config):
    bound = config.bind_socket()
    try:
        yield bound
    finally:
        bound.close()


@pytest.fixture
async def url(sample_service):
    async with serving(sample_service) as address:
        yield address


@pytest.fixture
async def client(url):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
async def http(url):
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        yield session


async def post(http, **body):
    """Status and JSON of a chat request; `data` sends raw bytes."""
    content = {"data": body.pop("data")} if "data" in body else {"json": {"messages": ASK, **body}}
    headers = {"Content-Type": "application/json"}
    async with http.post("/v1/chat/completions", headers=headers, **content) as response:
        return response.status, await response.json()


@contextlib.asynccontextmanager
async def connected(url, key=None):
    engine = EngineClient(url, key)
    try:
        yield engine
    finally:
        await engine.close()


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def in_the_batch(service):
    """The one sequence that is being generated."""
    (sequence,) = service.generator.loop.scheduler.running
    return sequence


async def left_early(service, sequence):
    """Wait until the batch is empty; whether the sequence had not come to its end."""
    await until(lambda: service.generator.loop.running == 0)
    return len(sequence.token_ids) < sequence.max_tokens


class TestAnswers:
    async def test_a_plain_answer_has_text_usage_and_its_source(self, client):
        answer = await client.chat.completions.create(model=MODEL, messages=ASK)
        (choice,) = answer.choices
        assert "30 days" in choice.message.content
        assert (choice.message.role, choice.finish_reason, answer.model) == ("assistant", "stop", MODEL)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
        ours = answer.model_extra["frontdesk"]
        assert ours["decision"] == "answer"
        assert 0.42 < ours["confidence"] <= 1
        assert ours["citations"][0]["document"] == "returns.md"
        assert "30 days" in ours["citations"][0]["quote"]
        assert ours["window"]["passages"] >= 1
        assert ours["timings"]["total_ms"] > 0

    async def test_the_sync_client_works_too(self, url):
        def ask():
            with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
                return client.chat.completions.create(model=MODEL, messages=ASK)

        answer = await asyncio.to_thread(ask)
        assert "30 days" in answer.choices[0].message.content

    async def test_a_streamed_answer_adds_up_to_the_plain_one_and_ends_with_usage(self, client):
        plain = await client.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=30, extra_body=FREELY
        )
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                model=MODEL,
                messages=ASK,
                max_tokens=30,
                stream=True,
                stream_options={"include_usage": True},
                extra_body=FREELY,
            )
        ]
        *middle, end, usage = chunks
        assert middle[0].choices[0].delta.role == "assistant"
        pieces = [chunk.choices[0].delta.content for chunk in middle]
        assert "".join(pieces) == plain.choices[0].message.content
        assert sum(map(bool, pieces)) > 1, "it must come in pieces"
        assert end.choices[0].finish_reason == plain.choices[0].finish_reason
        assert end.model_extra["frontdesk"]["decision"] == "answer"
        assert (usage.choices, usage.usage) == ([], plain.usage)
        assert len({chunk.id for chunk in chunks}) == 1

    async def test_without_the_option_a_stream_has_no_usage(self, client):
        stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
        assert not any([chunk.usage async for chunk in stream])

    async def test_sampling_options_reach_the_model(self, client):
        async def ask(**options):
            extra = {"ignore_eos": True, **FREELY, **options.pop("extra", {})}
            return await client.chat.completions.create(
                model=MODEL, messages=ASK, max_tokens=12, extra_body=extra, **options
            )

        greedy, again = await ask(), await ask(temperature=2, extra={"top_k": 1})
        first, same, other = [await ask(temperature=2, seed=seed) for seed in (1, 1, 2)]
        assert greedy.usage.completion_tokens == 12
        assert greedy.choices[0].finish_reason == "length"
        assert greedy.choices[0].message.content == again.choices[0].message.content
        assert first.choices[0].message.content == same.choices[0].message.content
        assert first.choices[0].message.content != other.choices[0].message.content
        whole = greedy.choices[0].message.content
        stopped = await ask(stop=[whole[5:8]])
        assert stopped.choices[0].message.content == whole[: whole.index(whole[5:8])]

    async def test_content_in_parts_and_a_developer_turn_are_understood(self, client):
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo!"}],
                },
            ],
        )
        assert answer.choices[0].message.content.startswith("Hello! This is")

    async def test_the_frontdesk_field_chooses_the_task(self, client):
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "- shop moves to Aarhus\n- opening on 3 May"}],
            extra_body={"frontdesk": {"task": "draft", "conversation": "discord:1"}},
        )
        assert "3 May" in answer.choices[0].message.content


class TestCancelling:
    async def test_closing_a_stream_empties_the_batch(self, client, sample_service):
        stream = await client.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=900, stream=True, extra_body={"ignore_eos": True, **FREELY}
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        sequence = in_the_batch(sample_service)
        await stream.close()
        assert await left_early(sample_service, sequence)

    @pytest.mark.parametrize("stream", [True, False])
    async def test_going_away_before_the_first_text_empties_the_batch(self, client, sample_service, stream):
        # Given an answer of which nothing is supported, so that nothing is shown for seconds
        loop = sample_service.generator.loop
        asking = asyncio.create_task(
            client.chat.completions.create(
                model=MODEL,
                messages=ASK,
                max_tokens=600,
                temperature=2,
                seed=1,
                stream=stream,
                extra_body={"ignore_eos": True},
            )
        )
        await until(lambda: loop.running == 1)
        sequence = in_the_batch(sample_service)

        # When the client goes away
        asking.cancel()

        # Then the model stops
        assert await left_early(sample_service, sequence)


class TestRefusals:
    async def test_a_wrong_key_is_an_authentication_error(self, url):
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError, match="Wrong or missing API key"):
                await client.chat.completions.create(model=MODEL, messages=ASK)
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()

    async def test_a_missing_key_is_refused_and_the_key_is_in_no_answer(self, url):
        async with aiohttp.ClientSession(url) as session:
            status, body = await post(session)
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert KEY not in str(body)

    async def test_without_a_configured_key_everybody_may_ask(self, sample_service):
        async with serving(sample_service, key=None) as address, aiohttp.ClientSession(address) as session:
            status, _ = await post(session)
        assert status == 200

    async def test_an_unknown_model_is_not_found(self, client):
        with pytest.raises(openai.NotFoundError, match=f"only '{MODEL}'"):
            await client.chat.completions.create(model="gpt-9", messages=ASK)

    async def test_an_unknown_path_is_not_found(self, http):
        async with http.get("/v1/nothing") as response:
            assert response.status == 404
            assert "/v1/nothing" in (await response.json())["error"]["message"]

    @pytest.mark.parametrize("stream", [True, False])
    async def test_a_message_that_is_too_long_is_told_how_long_it_may_be(self, client, stream):
        with pytest.raises(openai.BadRequestError, match=r"it may be at most \d+ tokens") as caught:
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "word " * 3000}], stream=stream
            )
        assert caught.value.code == "context_length_exceeded"
        assert caught.value.body["limit"] < caught.value.body["tokens"]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"n": 2}, "n: "),
            ({"messages": []}, "messages: "),
            ({"messages": [{"role": "user", "content": " "}]}, "message is empty"),
            ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: "),
            ({"messages": [{"role": "assistant", "content": "x"}]}, "last message must be the user's"),
            ({"temperature": 3}, "temperature: "),
            ({"max_tokens": 0}, "max_tokens: "),
            ({"repetition_penalty": 1e-40}, "repetition_penalty: "),
            ({"repetition_penalty": 11}, "repetition_penalty: "),
            ({"seed": 2**63}, "seed: "),
            ({"seed": -(2**63) - 1}, "seed: "),
            ({"top_p": 0}, "top_p: "),
            ({"frontdesk": {"knowlege": False}}, "frontdesk.knowlege: Extra inputs"),
            ({"frontdesk": {"task": "cook"}}, "frontdesk.task: "),
            ({"data": b"{"}, "JSON"),
            ({"data": b"[]"}, "dict"),
        ],
    )
    async def test_a_bad_request_is_told_what_is_wrong(self, http, change, words):
        status, body = await post(http, **change)
        assert status == 400
        assert words in body["error"]["message"]
        assert body["error"]["type"] == "invalid_request_error"

    async def test_fields_of_openai_that_change_nothing_are_ignored(self, http):
        status, _ = await post(http, user="jane", presence_penalty=0, logprobs=False, n=1)
        assert status == 200

    async def test_the_extremes_that_are_allowed_are_answered(self, http):
        for extremes in (
            {"temperature": 1e-40, "seed": 2**63 - 1},
            {"temperature": 2, "seed": -(2**63), "repetition_penalty": 0.1},
            {"temperature": 2, "repetition_penalty": 10},
        ):
            status, body = await post(http, max_tokens=4, **extremes, **FREELY)
            assert status == 200, body

    @pytest.mark.parametrize(
        "content", ['"hi \\ud83d there"', '[{"type": "text", "text": "hi \\udc00 there"}]']
    )
    async def test_half_a_character_is_replaced(self, http, sample_service, content):
        asked, generate = [], sample_service.generator.generate

        def recording(turns, *more):
            asked.extend(turns)
            return generate(turns, *more)

        sample_service.generator.generate = recording
        data = (
            '{"max_tokens": 2, "frontdesk": {"knowledge": false}, "messages": [{"role": "user", "content": '
        )
        status, _ = await post(http, data=f"{data}{content}}}]}}".encode())
        assert (status, asked[0].content) == (200, "hi \ufffd there")

    async def test_a_full_engine_says_when_to_come_back(self, sample_service, starter):
        await sample_service.generator.close()
        sample_service.generator = LocalGenerator(starter, BatchLimits(max_running=1, max_waiting=1))
        loop = sample_service.generator.loop
        async with serving(sample_service) as address, connected(address, KEY) as engine:
            first, second, third = (engine.chat(LONG) for _ in range(3))
            await anext(first)
            waiting = asyncio.create_task(anext(second))
            await until(lambda: loop.waiting)
            with pytest.raises(Unavailable, match="Too many answers") as caught:
                await anext(third)
            assert caught.value.retry_after == 5
            await first.aclose()
            assert isinstance(await waiting, str)
            await second.aclose()


class TestObservation:
    async def test_health_needs_no_key(self, url):
        async with aiohttp.ClientSession(url) as session, session.get("/health") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})

    async def test_ready_names_the_model_after_a_probe(self, url, sample_service):
        async with aiohttp.ClientSession(url) as session, session.get("/ready") as response:
            assert response.status == 200
            assert await response.json() == {
                "status": "ready",
                "model": MODEL,
                "passages": len(sample_service.knowledge.index.passages),
            }

    async def test_an_engine_that_generates_nothing_is_not_ready_but_alive(self, url, sample_service):
        await sample_service.generator.close()
        async with aiohttp.ClientSession(url) as session:
            async with session.get("/ready") as response:
                assert (response.status, (await response.json())["status"]) == (503, "not ready")
            async with session.get("/health") as response:
                assert response.status == 200

    async def test_an_engine_whose_generation_died_is_not_ready_at_once(self, http, sample_service):
        await post(http, max_tokens=2, **FREELY)
        async with http.get("/ready") as response:
            assert response.status == 200
        await sample_service.generator.close()
        async with http.get("/ready") as response:
            assert response.status == 503

    async def test_a_long_answer_under_way_is_a_sign_of_life(self, sample_service, starter, monkeypatch):
        # Given an engine whose batch is taken by one long answer, so that a probe would wait
        monkeypatch.setattr("engine.health._IDLE_SECONDS", 1)
        await sample_service.generator.close()
        sample_service.generator = LocalGenerator(starter, BatchLimits(max_running=1))
        readiness = Readiness(sample_service)
        assert await readiness.check()
        monkeypatch.setattr(readiness, "_probe", None)
        readiness._probed = float("-inf")

        # When it writes, then it is ready, without a probe
        async with contextlib.aclosing(sample_service.chat(LONG)) as answer:
            async for _ in answer:
                assert await readiness.check()
                break

    async def test_models_lists_the_one_with_its_length(self, client):
        (model,) = [model async for model in client.models.list()]
        assert (model.id, model.model_extra["max_model_len"]) == (MODEL, 1024)

    async def test_metrics_count_answers_tokens_and_first_text(self, client, http):
        answer = await client.chat.completions.create(model=MODEL, messages=ASK)
        await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Who won the world cup in 2014?"}]
        )
        async with http.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        assert 'frontdesk_answers_total{decision="answer"} 1.0' in lines
        assert 'frontdesk_answers_total{decision="hand_over"} 1.0' in lines
        assert f"frontdesk_generation_tokens_total {answer.usage.completion_tokens}.0" in lines
        assert "frontdesk_time_to_first_token_seconds_count 2.0" in lines
        assert "frontdesk_num_requests_running 0.0" in lines
        assert "frontdesk_num_requests_waiting 0.0" in lines


class TestEngineClient:
    async def collect(self, engine, *contents, **options):
        turns = [ChatTurn(("user", "assistant")[row % 2], text) for row, text in enumerate(contents)]
        items = [item async for item in engine.chat(ChatRequest(tuple(turns), **options))]
        assert isinstance(items[-1], Outcome)
        return items[:-1], items[-1]

    @pytest.mark.parametrize(
        ("contents", "options"),
        [
            ((RETURN,), {}),
            ((RETURN, "30 days.", "And what does the label cost?"), {}),
            (("Who won the football world cup in 2014?",), {}),
            (("Hello!",), {}),
            ((RETURN,), {"knowledge": False, "sampling": Sampling(max_tokens=20, temperature=1, seed=3)}),
            (("- shop moves\n- opening on 3 May",), {"task": "draft"}),
        ],
    )
    async def test_over_http_comes_what_the_service_gives_in_process(
        self, url, sample_service, contents, options
    ):
        async with connected(url, KEY) as engine:
            pieces, outcome = await self.collect(engine, *contents, **options)
        own_pieces, own = await self.collect(sample_service, *contents, **options)
        assert "".join(pieces) == "".join(own_pieces)
        assert outcome.decision == own.decision
        assert outcome.citations == own.citations
        assert outcome.confidence == pytest.approx(own.confidence, abs=1e-4)
        assert (outcome.window, outcome.usage, outcome.finish_reason, outcome.model) == (
            own.window,
            own.usage,
            own.finish_reason,
            own.model,
        )
        assert set(outcome.timings) == set(own.timings)

    async def test_closing_the_answer_empties_the_batch(self, url, sample_service):
        async with connected(url, KEY) as engine:
            async with contextlib.aclosing(engine.chat(LONG)) as answer:
                await anext(answer)
                sequence = in_the_batch(sample_service)
            assert await left_early(sample_service, sequence)

    async def test_errors_come_back_as_what_they_were(self, url):
        async with connected(url, KEY) as engine:
            with pytest.raises(ContextTooLong) as caught:
                await self.collect(engine, "word " * 3000)
            assert caught.value.tokens > caught.value.limit > 0
            with pytest.raises(BadRequest, match="message is empty"):
                await self.collect(engine, " ")
        async with connected(url, "wrong") as engine:
            with pytest.raises(Unauthorised):
                await self.collect(engine, RETURN)

    async def test_an_engine_that_stops_in_the_middle_is_a_broken_answer(self, url, sample_service):
        async with connected(url, KEY) as engine, contextlib.aclosing(engine.chat(LONG)) as answer:
            await anext(answer)
            await sample_service.generator.close()
            with pytest.raises(RemoteFailed, match="stopping"):
                async for _ in answer:
                    pass

    async def test_ready_tells_the_model_or_nothing(self, url):
        async with connected(url, KEY) as engine:
            assert (await engine.ready())["model"] == MODEL
        async with connected("http://127.0.0.1:9") as engine:
            assert await engine.ready() is None
            with pytest.raises(Unavailable, match="cannot be reached"):
                await self.collect(engine, RETURN)


class TestBinding:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
    def test_an_address_that_others_reach_needs_a_key(self, host):
        with pytest.raises(BadRequest, match="FRONTDESK_ENGINE_KEY"):
            check_bind(host, None)
        check_bind(host, KEY)

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
    def test_loopback_needs_none(self, host):
        check_bind(host, None)


class TestLogprobs:
    TOKENS = (
        TokenLogprob("Hello", -0.25, b"Hello", (TokenLogprob("Hello", -0.25, b"Hello"),)),
        TokenLogprob(" \ufffd", -1.5, b" \xf0\x9f", (TokenLogprob(" a", -0.5, b" a"),)),
        TokenLogprob("\ufffd", -0.0, b"\x98\x80"),
    )

    @pytest.fixture(autouse=True)
    async def scripted(self, sample_service):
        """A model that writes two words and knows how likely they were."""
        tokens, asked = self.TOKENS, []

        async def generate(turns, sampling, deadline=None, conversation=""):
            asked.append(sampling)
            yield "Hello 😀"
            yield Ended("stop", Usage(3, 3), tokens if sampling.logprobs is not None else ())

        sample_service.generator.generate = generate
        return asked

    async def test_a_whole_answer_tells_its_tokens(self, client, scripted):
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=ASK,
            logprobs=True,
            top_logprobs=1,
            presence_penalty=0.5,
            frequency_penalty=-0.5,
            extra_body=FREELY,
        )
        found = answer.choices[0].logprobs.content
        assert [bytes(token.bytes) for token in found] == [it.raw for it in self.TOKENS]
        assert [token.logprob for token in found] == [it.logprob for it in self.TOKENS]
        assert (found[1].top_logprobs[0].token, found[1].top_logprobs[0].logprob) == (" a", -0.5)
        assert (scripted[0].logprobs, scripted[0].presence_penalty, scripted[0].frequency_penalty) == (
            1,
            0.5,
            -0.5,
        )

    async def test_a_stream_tells_them_at_its_end(self, client):
        stream = await client.chat.completions.create(
            model=MODEL, messages=ASK, logprobs=True, stream=True, extra_body=FREELY
        )
        choices = [chunk.choices[0] async for chunk in stream]
        assert [choice.logprobs is not None for choice in choices] == [False] * (len(choices) - 1) + [True]
        assert [bytes(token.bytes) for token in choices[-1].logprobs.content] == [
            it.raw for it in self.TOKENS
        ]

    async def test_our_client_reads_what_the_service_gave(self, url):
        request = ChatRequest((ChatTurn("user", "hi"),), Sampling(logprobs=1), knowledge=False)
        async with connected(url, KEY) as engine:
            items = [item async for item in engine.chat(request)]
        assert items[-1].logprobs == self.TOKENS

    async def test_unasked_and_beside_knowledge_nothing_is_told(self, client, scripted):
        for asked in ({"extra_body": FREELY}, {"logprobs": True}):
            answer = await client.chat.completions.create(model=MODEL, messages=ASK, **asked)
            assert answer.choices[0].logprobs is None
        assert [sampling.logprobs for sampling in scripted] == [None, None]

    async def test_alternatives_without_logprobs_are_refused(self, http):
        status, answer = await post(http, top_logprobs=2)
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
        assert answer["error"]["message"] == "top_logprobs: is allowed only with logprobs: true"


class TestReading:
    """Files in, progress out, in the one field that is ours."""

    @pytest.fixture
    def requests(self, sample_service):
        """What the service is asked, while it says how far it is and then answers."""
        asked = []

        async def chat(request):
            asked.append(request)
            for done in range(3):
                yield Progress(done, 2)
            yield "Nine hundred euros."
            yield Outcome(window=Window(share_read=0.5))

        sample_service.chat = chat
        return asked

    async def test_files_summary_and_language_arrive_as_they_were_sent(self, url, requests):
        text = "Die Kaution beträgt 900 Euro. 😀\n" * 50_000
        files = (TextFile("lease.txt", text), TextFile("old.txt", "b", is_new=False))
        request = ChatRequest(
            (ChatTurn("user", "How much is it?"),), files=files, summary="before", language="de"
        )
        async with connected(url, KEY) as engine:
            pieces = [piece async for piece in engine.chat(request)]
        (asked,) = requests
        assert (asked.files, asked.summary, asked.language) == (files, "before", "de")
        assert pieces[:4] == [Progress(0, 2), Progress(1, 2), Progress(2, 2), "Nine hundred euros."]
        assert pieces[-1].window.share_read == 0.5

    async def test_other_clients_pass_over_the_progress(self, client, requests):
        text = ""
        async for chunk in await client.chat.completions.create(model=MODEL, messages=ASK, stream=True):
            text += chunk.choices[0].delta.content or ""
        assert text == "Nine hundred euros."

    async def test_an_answer_in_one_piece_has_no_progress(self, http, requests):
        files = [{"name": "lease.txt", "text": "The deposit is 900 euros."}]
        status, body = await post(http, frontdesk={"files": files})
        assert (status, body["choices"][0]["message"]["content"]) == (200, "Nine hundred euros.")
        assert requests[0].files == (TextFile("lease.txt", "The deposit is 900 euros."),)

    async def test_a_file_without_a_name_is_refused(self, http, requests):
        status, body = await post(http, frontdesk={"files": [{"text": "a"}]})
        assert (status, requests) == (400, [])
        assert "name" in body["error"]["message"]
