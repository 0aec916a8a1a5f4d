"""The remote generator against servers that speak OpenAI's format each in their own way."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from engine.errors import ContextTooLong, RemoteFailed, Unauthorised, Unavailable, UnknownModel
from engine.generation import Ended
from engine.generation.remote import RemoteGenerator, discover
from engine.types import ChatTurn, Sampling, Usage

TURNS = [ChatTurn("system", "be kind"), ChatTurn("user", "hello")]


def chunk(text=None, finish=None, **more):
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}


def sse(*chunks, end="\n\n", done=True):
    lines = [f"data: {json.dumps(item, ensure_ascii=False)}{end}" for item in chunks]
    return "".join([*lines, *([f"data: [DONE]{end}"] if done else [])]).encode()


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
ROLE = chunk(role="assistant") | {"choices": [{"index": 0, "delta": {"role": "assistant"}}]}
WHOLE = (ROLE, chunk("Hello "), chunk("wörld 😀"), chunk(finish="stop"))


class Server:
    """A chat-completions server that sends the bytes it is given, in the given pieces."""

    def __init__(self):
        self.pieces, self.status, self.headers = [sse(*WHOLE)], 200, {}
        self.requests, self.keys, self.is_left = [], [], asyncio.Event()
        self.hangs = False

    async def answer(self, request):
        self.requests.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        headers = {"Content-Type": "text/event-stream", **self.headers}
        response = web.StreamResponse(status=self.status, headers=headers)
        await response.prepare(request)
        try:
            for piece in self.pieces:
                await response.write(piece)
                await asyncio.sleep(0.001)
            if self.hangs:
                await asyncio.sleep(30)
        except (ConnectionError, asyncio.CancelledError):
            self.is_left.set()
            raise
        return response

    async def break_off(self, request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(sse(chunk("Hel"), done=False))
        request.transport.abort()
        return response


@contextlib.asynccontextmanager
async def listening(*routes):
    """An aiohttp application on a free port: its address."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def generating(url, **options):
    made = RemoteGenerator(url, **{"model": "m", "key": "k", "context_length": 1000, **options})
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def server():
    return Server()


@pytest.fixture
async def remote(server):
    routes = web.post("/v1/chat/completions", server.answer)
    async with listening(routes) as url, generating(url) as generator:
        yield generator


async def collect(generator, **sampling):
    text, ended = "", None
    async for item in generator.generate(TURNS, Sampling(**sampling)):
        if isinstance(item, Ended):
            ended = item
        else:
            text += item
    return text, ended


class TestDialects:
    @pytest.mark.parametrize(
        ("content", "usage"),
        [
            pytest.param(sse(*WHOLE), Usage(), id="as OpenAI"),
            pytest.param(sse(*WHOLE, done=False), Usage(), id="without [DONE]"),
            pytest.param(sse(*WHOLE, done=False).rstrip(), Usage(), id="last line without its end"),
            pytest.param(
                sse(*WHOLE, {"choices": [], "usage": USAGE}), Usage(5, 2), id="usage in a chunk of its own"
            ),
            pytest.param(
                sse(*WHOLE[:-1], chunk(finish="stop", usage=USAGE)),
                Usage(5, 2),
                id="usage with the last choice",
            ),
            pytest.param(
                sse(*(item | {"usage": None, "error": None} for item in WHOLE)), Usage(), id="empty fields"
            ),
            pytest.param(sse(*WHOLE, end="\r\n\r\n"), Usage(), id="CRLF"),
            pytest.param(
                b": ping\n\nevent: message\nid: 3\n"
                + sse(*WHOLE[:2], done=False)
                + b": ping\n\n"
                + sse(*WHOLE[2:]),
                Usage(),
                id="comments and other fields",
            ),
            pytest.param(sse(*WHOLE).replace(b"data: ", b"data:"), Usage(), id="no space behind the colon"),
            pytest.param(
                sse(WHOLE[0], chunk(None) | {"choices": [{"delta": {"content": None}}]}, *WHOLE[1:]),
                Usage(),
                id="null content",
            ),
        ],
    )
    async def test_every_dialect_gives_the_same_answer(self, server, remote, content, usage):
        server.pieces = [content]
        assert await collect(remote) == ("Hello wörld 😀", Ended("stop", usage))

    @pytest.mark.parametrize("size", [1, 3, 7])
    async def test_pieces_cut_anywhere_even_in_a_character_give_the_same_answer(self, server, remote, size):
        content = sse(*WHOLE, end="\r\n\r\n")
        server.pieces = [content[start : start + size] for start in range(0, len(content), size)]
        text, _ = await collect(remote)
        assert text == "Hello wörld 😀"

    @pytest.mark.parametrize(("reason", "expected"), [("length", "length"), ("content_filter", "stop")])
    async def test_a_finish_reason_is_read(self, server, remote, reason, expected):
        server.pieces = [sse(chunk("x"), chunk(finish=reason))]
        assert (await collect(remote))[1].finish_reason == expected

    async def test_text_comes_as_it_arrives(self, server, remote):
        server.pieces, server.hangs = [sse(*WHOLE[:2], done=False)], True
        async with asyncio.timeout(5), contextlib.aclosing(remote.generate(TURNS, Sampling())) as pieces:
            assert await anext(pieces) == "Hello "

    async def test_closing_the_iterator_closes_the_connection(self, server, remote):
        server.pieces, server.hangs = [sse(*WHOLE[:2], done=False)], True
        async with contextlib.aclosing(remote.generate(TURNS, Sampling())) as pieces:
            await anext(pieces)
        await asyncio.wait_for(server.is_left.wait(), 5)


class TestRequests:
    async def test_only_what_differs_from_the_defaults_is_sent(self, server, remote):
        await collect(remote)
        assert server.requests == [
            {
                "model": "m",
                "messages": [
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "hello"},
                ],
                "stream": True,
                "stream_options": {"include_usage": True},
                "temperature": 0.0,
                "top_p": 1.0,
            }
        ]
        assert server.keys == ["Bearer k"]

    async def test_sampling_is_passed_on(self, server, remote):
        sampling = {
            "max_tokens": 9,
            "min_tokens": 2,
            "ignore_eos": True,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 4,
            "min_p": 0.1,
            "repetition_penalty": 1.2,
            "seed": 0,
            "stop": ("a", "b"),
        }
        await collect(remote, **sampling)
        sent = server.requests[0]
        assert {name: sent[name] for name in sampling} == {**sampling, "stop": ["a", "b"]}

    async def test_tokens_are_counted_with_a_stand_in_that_errs_on_the_high_side(self, remote):
        text = "How long do I have to return something that I bought last week?"
        assert len(text.split()) < remote.count([ChatTurn("user", text)]) < len(text)


class TestFailures:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (sse(ROLE, chunk("Hel"), done=False), "without saying that it was finished"),
            (sse(ROLE, chunk("Hel"), done=True), "without saying that it was finished"),
            (b"", "without saying that it was finished"),
            (sse(chunk("Hel"), {"error": {"message": "out of memory", "code": 500}}), "out of memory"),
            (sse({"error": "plain words"}), "plain words"),
            (b"data: {oops\n\n", "no JSON"),
            (b"data: [1]\n\n", "no completion chunk"),
        ],
    )
    async def test_a_broken_answer_is_never_taken_for_a_whole_one(self, server, remote, content, words):
        server.pieces = [content]
        with pytest.raises(RemoteFailed, match=words):
            await collect(remote)

    async def test_a_connection_that_breaks_in_the_middle_is_a_broken_answer(self, server):
        async with (
            listening(web.post("/v1/chat/completions", server.break_off)) as url,
            generating(url) as generator,
        ):
            with pytest.raises(RemoteFailed, match="broke off"):
                await collect(generator)

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, Unauthorised),
            (404, UnknownModel),
            (429, Unavailable),
            (500, Unavailable),
            (503, Unavailable),
        ],
    )
    @pytest.mark.parametrize("body", [{"error": {"message": "own words"}}, {"error": "own words"}])
    async def test_a_status_becomes_its_error_with_the_servers_words(
        self, server, remote, status, error, body
    ):
        server.status, server.pieces = status, [json.dumps(body).encode()]
        with pytest.raises(error, match="own words") as caught:
            await collect(remote)
        assert type(caught.value) is error

    @pytest.mark.parametrize("status", [400, 422])
    async def test_what_a_server_refuses_is_logged_and_not_told_to_the_customer(
        self, server, remote, status, capsys, caplog
    ):
        words = "Unsupported parameter: max_tokens"
        server.status, server.pieces = status, [json.dumps({"error": {"message": words}}).encode()]
        with pytest.raises(RemoteFailed, match="refused") as caught:
            await collect(remote)
        assert words not in str(caught.value)
        assert words in capsys.readouterr().err + caplog.text

    async def test_an_answer_ends_at_its_deadline(self, server, remote):
        server.pieces, server.hangs = [sse(chunk("Hel"), done=False)], True
        shown = []
        with pytest.raises(Unavailable, match="too long"):
            async for piece in remote.generate(TURNS, Sampling(), deadline=time.monotonic() + 0.3):
                shown.append(piece)
        assert shown == ["Hel"]
        await asyncio.wait_for(server.is_left.wait(), 5)

    @pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[]", b'{"detail": "x"}', b""])
    async def test_an_error_without_words_names_its_status(self, server, remote, body):
        server.status, server.pieces = 502, [body]
        with pytest.raises(Unavailable, match="answered 502"):
            await collect(remote)

    @pytest.mark.parametrize(
        ("header", "seconds"), [("17", 17), ("Wed, 21 Oct 2026 07:28:00 GMT", 5), (None, 5)]
    )
    async def test_retry_after_is_read(self, server, remote, header, seconds):
        server.status, server.headers = 429, {"Retry-After": header} if header else {}
        with pytest.raises(Unavailable) as caught:
            await collect(remote)
        assert caught.value.retry_after == seconds

    async def test_our_own_engines_length_error_keeps_its_numbers(self, server, remote):
        server.status = 400
        error = {"message": "too long", "code": "context_length_exceeded", "tokens": 30, "limit": 20}
        server.pieces = [json.dumps({"error": error}).encode()]
        with pytest.raises(ContextTooLong) as caught:
            await collect(remote)
        assert (caught.value.tokens, caught.value.limit) == (30, 20)

    async def test_nobody_listening_is_unavailable_and_names_the_address(self):
        url = f"http://127.0.0.1:{free_port()}/v1"
        async with generating(url) as generator:
            with pytest.raises(Unavailable, match=f"{url}.* cannot be reached"):
                await collect(generator)


class TestDiscovery:
    async def test_the_first_model_and_its_length_are_found(self):
        async def models(request):
            assert request.headers["Authorization"] == "Bearer k"
            return web.json_response({"data": [{"id": "big", "max_model_len": 4096}, {"id": "other"}]})

        async with listening(web.get("/v1/models", models)) as url:
            assert await discover(url, "k") == ("big", 4096)

    @pytest.mark.parametrize("body", ["{}", '{"data": []}', "no json"])
    async def test_a_server_that_names_no_model_is_told_apart(self, body):
        async def models(_):
            return web.Response(text=body)

        async with listening(web.get("/v1/models", models)) as url:
            with pytest.raises(Unavailable, match="FRONTDESK_REMOTE_MODEL"):
                await discover(url, None)


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@pytest.fixture
async def transformers_serve(model_directory, tmp_path):
    """The real `transformers serve` with the small model, offline: its address."""
    (tmp_path / "home" / "hub").mkdir(parents=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    port = free_port()
    command = [Path(sys.executable).parent / "transformers", "serve", str(model_directory)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = tmp_path / "serve.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, *options, env=environment, stdout=output, stderr=output
        )
    try:
        async with aiohttp.ClientSession() as session:
            until = time.monotonic() + 90
            while True:
                assert process.returncode is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{port}/health") as response:
                        if response.status == 200:
                            break
                await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def test_the_real_transformers_server_gives_what_our_own_generator_gives(
    transformers_serve, model_directory, generator
):
    async with generating(transformers_serve, model=str(model_directory)) as remote:
        text, ended = await collect(remote, max_tokens=12)
    own_text, own_ended = await collect(generator, max_tokens=12)
    assert text == own_text != ""
    assert ended == own_ended
