"""The engine service: filter, knowledge, chunker, generator, filter. One object answers every request.

What it yields has passed the filter, and in front of the knowledge base the support check: a sentence is
released once a passage supports it, and an answer of which nothing is left becomes a quotation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import accumulate

from engine.errors import BadRequest
from engine.filter import Finding, Placeholders, mask, normalise, redact, stream
from engine.fitting import Fitted, fit
from engine.generation import Ended, Generator
from engine.index import Hit
from engine.knowledge import KnowledgeBase
from engine.prompt import ask, system_turn
from engine.smalltalk import NOT_FOUND, reply_to
from engine.support import SentenceCutter, Support, has_substance
from engine.tasks import draft, summarise
from engine.types import ChatRequest, ChatTurn, Outcome, Stopwatch, TokenLogprob, Window

# A passage goes into the prompt when its score is at least this share of the best one's.
_WORTH_READING = 0.6
# The longest message that is looked at: a wall against work before anything was counted.
MAX_MESSAGE_CHARACTERS = 10 * 1024 * 1024


class EngineService:
    """Answers chat requests. Safe for many at a time on one event loop."""

    def __init__(
        self,
        generator: Generator,
        knowledge: KnowledgeBase,
        *,
        persona: str,
        hand_over_below: float,
        max_answer_tokens: int,
    ) -> None:
        self.generator, self.knowledge = generator, knowledge
        self._persona, self._hand_over_below = persona, hand_over_below
        self._max_answer_tokens = max_answer_tokens

    async def chat(self, request: ChatRequest) -> AsyncGenerator[str | Outcome, None]:
        """Yield pieces of the answer's text, then one `Outcome`. Closing the iterator cancels.

        Raises `BadRequest` for a request without a message, `ContextTooLong` for one that cannot fit,
        and what the generator raises.
        """
        watch = Stopwatch()
        request, placeholders = _redacted(_checked(request))
        watch.lap("filter_ms")
        outgoing = stream(self._outgoing(placeholders))
        generated = shown = ""
        async with aclosing(self._answer(request, watch)) as answer:
            async for item in answer:
                if isinstance(item, Outcome):
                    if rest := outgoing.close():
                        yield rest
                    # Tokens would tell what the filter took out of the text.
                    logprobs = _of_text(item.logprobs, generated) if shown + rest == generated else ()
                    yield replace(item, model=self.generator.name, timings=watch.total(), logprobs=logprobs)
                    continue
                generated += item
                if released := outgoing.feed(item):
                    shown += released
                    yield released

    def _outgoing(self, placeholders: Placeholders) -> Callable[[Finding, str], str]:
        contacts = self.knowledge.index.contacts

        def replace_finding(finding: Finding, value: str) -> str:
            """The team's own contact data as it is; what the request had as its placeholder; else a mask.

            A new number could be one that the caller has already given to another value.
            """
            if normalise(finding.entity, value) in contacts:
                return value
            return placeholders.known(finding, value) or mask(finding.entity)

        return replace_finding

    def _answer(self, request: ChatRequest, watch: Stopwatch) -> AsyncGenerator[str | Outcome, None]:
        if request.task == "summarise":
            return summarise(self.generator, request, watch)
        if request.task == "draft":
            return draft(self.generator, request, watch)
        return self._from_knowledge(request, watch) if request.knowledge else self._freely(request, watch)

    async def _freely(self, request: ChatRequest, watch: Stopwatch) -> AsyncGenerator[str | Outcome, None]:
        """The model alone, as any OpenAI-compatible server would answer."""
        fitted = self._fit(request, ())
        async with aclosing(self._generate(fitted, request)) as pieces:
            async for item in pieces:
                if isinstance(item, Ended):
                    watch.lap("generation_ms")
                    yield Outcome(
                        usage=item.usage,
                        finish_reason=item.finish_reason,
                        window=_window(fitted),
                        logprobs=item.logprobs,
                    )
                else:
                    yield item

    async def _from_knowledge(
        self, request: ChatRequest, watch: Stopwatch
    ) -> AsyncGenerator[str | Outcome, None]:
        message = request.turns[-1].content
        if known := reply_to(message, self._persona):
            text, decision = known
            yield text
            yield Outcome(decision=decision)
            return
        # Fitted before the search: a message that is too long is told so, whatever it asks.
        self._fit(request, ())
        hits = (await self.knowledge.search(_query(request))).hits
        watch.lap("search_ms")
        if not hits or hits[0].score < self._hand_over_below:
            yield NOT_FOUND
            yield Outcome(decision="hand_over", confidence=hits[0].score if hits else 0.0)
            return
        worth = [hit for hit in hits if hit.score >= _WORTH_READING * hits[0].score]
        async with aclosing(self._supported(request, worth, watch)) as answer:
            async for item in answer:
                yield item

    async def _supported(
        self, request: ChatRequest, hits: Sequence[Hit], watch: Stopwatch
    ) -> AsyncGenerator[str | Outcome, None]:
        """Generate from the passages and release what they support; quote if nothing is.

        What comes first must also be about the question: a true sentence may answer another one.
        """
        fitted = self._fit(request, [f"{hit.passage.heading}\n{hit.passage.text}" for hit in hits])
        read = list(hits[: fitted.passages_used]) or [hits[0]]
        support, cutter = Support([hit.passage.text for hit in read]), SentenceCutter()
        is_relevant = self.knowledge.relevance(_query(request), hits[0].passage.text)
        opening, cited = "", set[int]()
        ended = Ended("stop", usage=Outcome().usage)
        async with aclosing(self._generate(fitted, request)) as pieces:
            async for item in pieces:
                if isinstance(item, Ended):
                    ended = item
                    finished = [cutter.close()] if item.finish_reason == "stop" else []
                else:
                    finished = list(cutter.feed(item))
                for sentence in finished:
                    if (row := support.find(sentence)) is None:
                        continue
                    if cited:
                        yield sentence
                    elif not has_substance(sentence):
                        opening += sentence
                        continue
                    elif await asyncio.to_thread(is_relevant, sentence):
                        yield (opening + sentence).lstrip()
                    else:
                        continue
                    cited.add(row)
        watch.lap("generation_ms")
        if not cited:
            cited.add(0)
            yield read[0].passage.text
        yield Outcome(
            confidence=hits[0].score,
            citations=tuple(read[row].citation() for row in sorted(cited)),
            usage=ended.usage,
            finish_reason="stop",
            window=_window(fitted),
        )

    def _generate(self, fitted: Fitted, request: ChatRequest) -> AsyncGenerator[str | Ended, None]:
        sampling = request.sampling
        if sampling.max_tokens is None:
            sampling = replace(sampling, max_tokens=self._max_answer_tokens)
        if request.knowledge:  # what is shown is chosen from what is generated: tokens are not told
            sampling = replace(sampling, logprobs=None)
        return self.generator.generate(fitted.turns, sampling, request.deadline, request.conversation)

    def _fit(self, request: ChatRequest, passages: Sequence[str]) -> Fitted:
        *earlier, message = request.turns
        given = [turn for turn in earlier if turn.role == "system"]
        system = (
            ChatTurn("system", "\n\n".join(turn.content for turn in given))
            if given
            else system_turn(self._persona)
            if request.knowledge
            else None
        )
        # Room for the answer, but never more than half of the context.
        reserved = min(
            request.sampling.max_tokens or self._max_answer_tokens, self.generator.context_length // 2
        )
        return fit(
            system=system,
            passages=passages,
            history=[turn for turn in earlier if turn.role != "system"],
            message=message.content,
            ask=ask,
            count=self.generator.count,
            budget=self.generator.context_length - reserved,
        )


def _of_text(logprobs: Sequence[TokenLogprob], text: str) -> tuple[TokenLogprob, ...]:
    """The tokens that begin in the text: those of a stop string behind it were not shown.

    None if they do not add up to the text, for then nobody knows what they would tell. A tokenizer may
    leave out the space before the first word.
    """
    raw = b"".join(it.raw for it in logprobs)
    if not raw.decode("utf-8", "replace").lstrip(" ").startswith(text.lstrip(" ")):
        return ()
    left_out = (len(raw) - len(raw.lstrip(b" "))) - (len(text) - len(text.lstrip(" ")))
    starts = accumulate((len(it.raw) for it in logprobs), initial=-left_out)
    end = len(text.encode())
    return tuple(it for it, start in zip(logprobs, starts, strict=False) if start < end)


def _checked(request: ChatRequest) -> ChatRequest:
    if not request.turns or request.turns[-1].role != "user":
        raise BadRequest("The last message must be the user's.")
    if not request.turns[-1].content.strip():
        raise BadRequest("The message is empty: write what you would like to know.")
    if sum(len(turn.content) for turn in request.turns) > MAX_MESSAGE_CHARACTERS:
        raise BadRequest(f"The messages are longer than {MAX_MESSAGE_CHARACTERS:,} characters together.")
    return request


def _redacted(request: ChatRequest) -> tuple[ChatRequest, Placeholders]:
    """The request without sensitive values; numbering goes on behind placeholders already there."""
    placeholders = Placeholders()
    for turn in request.turns:
        placeholders.reserve(turn.content)
    turns = tuple(ChatTurn(turn.role, redact(turn.content, placeholders)) for turn in request.turns)
    return replace(request, turns=turns), placeholders


def _query(request: ChatRequest) -> str:
    """What to search for. A message too short to stand alone takes the one before it along."""
    asked = [turn.content for turn in request.turns if turn.role == "user"]
    if len(asked[-1].split()) < 4:
        return "\n".join(asked[-2:])
    return asked[-1]


def _window(fitted: Fitted) -> Window:
    return Window(fitted.passages_used, fitted.turns_used, fitted.turns_left_out)
