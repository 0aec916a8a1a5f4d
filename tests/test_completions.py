"""Penalties and log-probabilities, from the request to the answer, and what they may not tell."""

from types import SimpleNamespace
from typing import ClassVar

import pytest
from pydantic import ValidationError

from engine.completions import ChatBody, Shape
from engine.generation import Ended
from engine.openai_stream import body
from engine.service import EngineService
from engine.types import ChatRequest, ChatTurn, Outcome, Sampling, TokenLogprob, Usage

HELLO = [{"role": "user", "content": "hello"}]
TURNS = (ChatTurn("user", "hello"),)
CARD = "4111 1111 1111 1111"


def parse(**fields):
    return ChatBody(messages=HELLO, **fields).to_request().sampling


def scored(*tokens):
    """A log-probability for each of these texts or bytes."""
    raws = [token if isinstance(token, bytes) else token.encode() for token in tokens]
    return tuple(TokenLogprob(raw.decode("utf-8", "replace"), -0.5, raw) for raw in raws)


class Scripted:
    """A generator that writes these tokens and shows the given text of them."""

    name, context_length, tokenizer = "scripted", 1000, None

    def __init__(self, text, logprobs):
        self._text, self._logprobs, self.asked = text, logprobs, []

    def count(self, turns):
        return 10

    async def generate(self, turns, sampling, deadline=None, conversation=""):
        self.asked.append(sampling)
        for start in range(0, len(self._text), 5):
            yield self._text[start : start + 5]
        yield Ended("stop", Usage(3, 4), self._logprobs)


async def told(generator, **options):
    """The text and the outcome of a service without any page."""
    knowledge = SimpleNamespace(index=SimpleNamespace(contacts=frozenset()))
    service = EngineService(generator, knowledge, persona="us", hand_over_below=0.4, max_answer_tokens=50)
    request = ChatRequest(TURNS, Sampling(logprobs=2), **{"knowledge": False, **options})
    *pieces, outcome = [item async for item in service.chat(request)]
    return "".join(pieces), outcome


class TestRequest:
    def test_penalties_and_logprobs_are_off_by_themselves(self):
        for sampling in (
            parse(),
            parse(presence_penalty=None, frequency_penalty=None, logprobs=None, top_logprobs=None),
            parse(presence_penalty=0, frequency_penalty=0, logprobs=False),
        ):
            assert sampling == Sampling()

    def test_they_are_read(self):
        sampling = parse(presence_penalty=-2, frequency_penalty=1.5, logprobs=True, top_logprobs=20)
        assert (sampling.presence_penalty, sampling.frequency_penalty, sampling.logprobs) == (-2, 1.5, 20)
        assert parse(logprobs=True).logprobs == 0

    @pytest.mark.parametrize(
        ("fields", "where"),
        [
            ({"presence_penalty": 2.1}, "presence_penalty"),
            ({"frequency_penalty": -2.1}, "frequency_penalty"),
            ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
            ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
            ({"logprobs": 5}, "logprobs"),
        ],
    )
    def test_what_is_out_of_range_is_refused_by_name(self, fields, where):
        with pytest.raises(ValidationError) as caught:
            parse(**fields)
        assert caught.value.errors()[0]["loc"] == (where,)

    @pytest.mark.parametrize("logprobs", [{}, {"logprobs": False}, {"logprobs": None}])
    def test_alternatives_without_logprobs_are_refused_with_the_reason(self, logprobs):
        with pytest.raises(ValidationError) as caught:
            parse(top_logprobs=3, **logprobs)
        (error,) = caught.value.errors()
        assert (error["loc"], error["msg"]) == (("top_logprobs",), "is allowed only with logprobs: true")

    def test_another_server_is_sent_only_what_was_asked(self):
        plain = body(TURNS, Sampling(), "m")
        assert not {"presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"} & set(plain)
        full = body(TURNS, Sampling(presence_penalty=0.5, frequency_penalty=-1.0, logprobs=0), "m")
        assert {
            name: full[name] for name in ("presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")
        } == {"presence_penalty": 0.5, "frequency_penalty": -1.0, "logprobs": True, "top_logprobs": 0}


class TestAnswer:
    OUTCOME = Outcome(
        logprobs=(
            TokenLogprob(
                "Hi", -0.25, b"Hi", (TokenLogprob("Hi", -0.25, b"Hi"), TokenLogprob("\ufffd", -3.0, b"\xf0"))
            ),
            TokenLogprob("<|end|>", -9999.0, b""),
        )
    )
    EXPECTED: ClassVar = {
        "content": [
            {
                "token": "Hi",
                "logprob": -0.25,
                "bytes": [72, 105],
                "top_logprobs": [
                    {"token": "Hi", "logprob": -0.25, "bytes": [72, 105]},
                    {"token": "\ufffd", "logprob": -3.0, "bytes": [240]},
                ],
            },
            {"token": "<|end|>", "logprob": -9999.0, "bytes": None, "top_logprobs": []},
        ],
        "refusal": None,
    }

    def test_a_whole_answer_has_them_in_openais_shape(self):
        assert Shape("m").whole("Hi", self.OUTCOME)["choices"][0]["logprobs"] == self.EXPECTED

    def test_a_stream_has_them_in_its_last_chunk(self):
        shape = Shape("m")
        assert shape.chunk({}, self.OUTCOME)["choices"][0]["logprobs"] == self.EXPECTED
        assert "logprobs" not in shape.chunk({"content": "Hi"})["choices"][0]

    def test_without_any_the_answer_is_as_before(self):
        assert "logprobs" not in Shape("m").whole("Hi", Outcome())["choices"][0]


class TestWhatTokensMayTell:
    async def test_an_untouched_text_comes_with_its_tokens(self):
        logprobs = scored("Hello", " wör", b"ld \xf0\x9f", b"\x98\x80")
        generator = Scripted("Hello wörld 😀", logprobs)
        text, outcome = await told(generator)
        assert (text, outcome.logprobs) == ("Hello wörld 😀", logprobs)
        assert generator.asked[0].logprobs == 2

    async def test_tokens_of_what_the_filter_took_out_are_not_told(self):
        text, outcome = await told(Scripted(f"Pay with {CARD}.", scored("Pay with ", CARD, ".")))
        assert CARD not in text
        assert outcome.logprobs == ()

    async def test_tokens_behind_the_text_are_not_told(self):
        # A stop string is cut off the text, in the middle of a token.
        logprobs = scored("Hello", " you", "\nUs", "er:", CARD)
        _, outcome = await told(Scripted("Hello you\n", logprobs))
        assert outcome.logprobs == logprobs[:3]
        _, outcome = await told(Scripted("Hello you", logprobs))
        assert outcome.logprobs == logprobs[:2]

    async def test_a_first_space_that_the_tokenizer_leaves_out_does_not_matter(self):
        logprobs = scored(" Hello", " you", ".", "<STOP>")
        _, outcome = await told(Scripted("Hello you.", logprobs))
        assert outcome.logprobs == logprobs[:3]

    async def test_tokens_that_do_not_add_up_to_the_text_are_not_told(self):
        _, outcome = await told(Scripted("Hello you", scored("Hello", CARD)))
        assert outcome.logprobs == ()
