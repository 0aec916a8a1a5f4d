"""The engine service: filter, knowledge, chunker, generator, filter. One object answers every request.

What it yields has passed the filter, and in front of the knowledge base the support check: a sentence is
released once a passage supports it, and an answer of which nothing is left becomes a quotation.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import accumulate

from engine.answering.answering import KnowledgeAnswer, Voice
from engine.answering.choices import chosen
from engine.answering.condensing import condense
from engine.answering.context import fit_request, window_of
from engine.answering.deciding import Thresholds
from engine.answering.routing import route
from engine.errors import BadRequest
from engine.evaluation.calibration_store import DEFAULT_THRESHOLD, CalibrationStore
from engine.filter import Finding, Placeholders, mask, normalise, redact, stream
from engine.generation import Ended, Generator
from engine.language.languages import detect
from engine.reading.reading import read
from engine.reading.tasks import draft, summarise
from engine.search.knowledge import KnowledgeBase
from engine.types import ChatRequest, ChatTurn, Outcome, Piece, Progress, Stopwatch, TextFile, TokenLogprob

# The longest message that is looked at: a wall against work before anything was counted.
MAX_MESSAGE_CHARACTERS = 10 * 1024 * 1024
# New files, and those from earlier in the conversation.
MAX_FILE_CHARACTERS = 2 * MAX_MESSAGE_CHARACTERS
# Digests of files in which the filter found nothing.
_CLEAN: set[bytes] = set()
_MOST_CLEAN = 10_000


class EngineService:
    """Answers chat requests. Safe for many at a time on one event loop."""

    def __init__(
        self,
        generator: Generator,
        knowledge: KnowledgeBase,
        *,
        persona: str,
        hand_over_below: float | None,
        max_answer_tokens: int,
        calibration: CalibrationStore | None = None,
    ) -> None:
        """`hand_over_below` wins over the `calibration`, and that over the default."""
        self.generator, self.knowledge = generator, knowledge
        self._voice, self._hand_over_below = Voice(persona, max_answer_tokens), hand_over_below
        self._calibration = calibration

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """Yield pieces of the answer, its `Outcome` last. Closing the iterator cancels.

        Raises `BadRequest` for a request without a message, `ContextTooLong` for one that cannot fit,
        and what the generator raises.
        """
        watch = Stopwatch()
        # In a thread: a text of megabytes takes seconds.
        request, placeholders = await asyncio.to_thread(_redacted, _checked(request))
        request = replace(request, language=_language(request))
        watch.lap("filter_ms")
        outgoing = stream(self._outgoing(placeholders))
        generated = shown = ""
        async with aclosing(await self._answer(request, watch)) as answer:
            async for item in answer:
                if isinstance(item, Outcome):
                    if rest := outgoing.close():
                        yield rest
                    # Tokens would tell what the filter took out of the text.
                    logprobs = _of_text(item.logprobs, generated) if shown + rest == generated else ()
                    yield replace(item, model=self.generator.name, timings=watch.total(), logprobs=logprobs)
                    continue
                if isinstance(item, Progress):
                    yield item
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

    async def _answer(self, request: ChatRequest, watch: Stopwatch) -> AsyncGenerator[Piece, None]:
        match request.task:
            case "summarise":
                return summarise(self.generator, request, watch)
            case "draft":
                return draft(self.generator, request, watch)
            case "condense":
                return condense(self.generator, request, watch)
        if request.knowledge:
            return await self._from_knowledge(request, watch)
        return self._freely(request, watch)

    async def _from_knowledge(self, request: ChatRequest, watch: Stopwatch) -> AsyncGenerator[Piece, None]:
        threshold = await self._threshold()
        answer = self._from_pages(request, threshold, watch)
        if not answer.is_settled or any(file.is_new for file in request.files):
            routed = await route(request, self.generator, self.knowledge, threshold)
            if routed.is_about_texts:
                embedder = self.knowledge.embedder
                return read(self.generator, routed.request, watch, embedder, evidence=routed.evidence)
            if routed.request is not request:
                answer = self._from_pages(routed.request, threshold, watch)
        return answer.run()

    def _from_pages(self, request: ChatRequest, threshold: float, watch: Stopwatch) -> KnowledgeAnswer:
        return KnowledgeAnswer(
            request,
            self.generator,
            self.knowledge,
            voice=self._voice,
            thresholds=Thresholds(threshold),
            watch=watch,
        )

    async def _threshold(self) -> float:
        if self._calibration is not None:
            return await self._calibration.threshold(self._hand_over_below)
        return DEFAULT_THRESHOLD if self._hand_over_below is None else self._hand_over_below

    async def _freely(self, request: ChatRequest, watch: Stopwatch) -> AsyncGenerator[Piece, None]:
        """The model alone, as any OpenAI-compatible server would answer."""
        voice = self._voice
        fitted = fit_request(
            request, self.generator, persona=voice.persona, max_answer_tokens=voice.max_answer_tokens
        )
        sampling = request.sampling
        if sampling.max_tokens is None:
            sampling = replace(sampling, max_tokens=voice.max_answer_tokens)
        pieces = self.generator.generate(fitted.turns, sampling, request.deadline, request.conversation)
        async with aclosing(pieces):
            async for item in pieces:
                if isinstance(item, Ended):
                    watch.lap("generation_ms")
                    yield Outcome(
                        usage=item.usage,
                        finish_reason=item.finish_reason,
                        window=window_of(fitted),
                        logprobs=item.logprobs,
                    )
                else:
                    yield item


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


def _language(request: ChatRequest) -> str:
    """In which language to answer. An option that was chosen is a page's words, not the customer's."""
    said = [turn.content for turn in request.turns if turn.role == "user"]
    is_choice = len(said) > 1 and chosen(request.turns) is not None
    return detect(said[-2] if is_choice else request.turns[-1].content, request.language)


def _checked(request: ChatRequest) -> ChatRequest:
    if not request.turns or (request.task != "condense" and request.turns[-1].role != "user"):
        raise BadRequest("The last message must be the user's.")
    if not request.turns[-1].content.strip() and not request.files:
        raise BadRequest("The message is empty: write what you would like to know.")
    if sum(len(turn.content) for turn in request.turns) > MAX_MESSAGE_CHARACTERS:
        raise BadRequest(f"The messages are longer than {MAX_MESSAGE_CHARACTERS:,} characters together.")
    if sum(len(file.text) for file in request.files) > MAX_FILE_CHARACTERS:
        raise BadRequest(f"The files are longer than {MAX_FILE_CHARACTERS:,} characters together.")
    return request


def _redacted(request: ChatRequest) -> tuple[ChatRequest, Placeholders]:
    """The request without sensitive values; numbering goes on behind placeholders already there."""
    placeholders = Placeholders()
    for text in (
        *(turn.content for turn in request.turns),
        request.summary,
        *(f.text for f in request.files),
    ):
        placeholders.reserve(text)
    turns = tuple(ChatTurn(turn.role, redact(turn.content, placeholders)) for turn in request.turns)
    files = tuple(
        TextFile(redact(file.name, placeholders), _redacted_file(file.text, placeholders), file.is_new)
        for file in request.files
    )
    summary = redact(request.summary, placeholders)
    return replace(request, turns=turns, files=files, summary=summary), placeholders


def _redacted_file(text: str, placeholders: Placeholders) -> str:
    """A file's text without sensitive values. It comes again with each follow-up question, and megabytes
    take seconds: what was found clean once is not looked at again."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    if digest in _CLEAN:
        return text
    redacted = redact(text, placeholders)
    if redacted == text:
        if len(_CLEAN) >= _MOST_CLEAN:
            _CLEAN.clear()
        _CLEAN.add(digest)
    return redacted
