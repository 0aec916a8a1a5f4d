"""One answer from the knowledge base: search, decide, generate, check each sentence, quote.

A sentence is released once a passage supports it. What comes first must also be about the question: a
true sentence may answer another one. An answer of which nothing is left becomes a quotation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from engine.answering.checked import CheckedAnswer
from engine.answering.choices import chosen, listed, readings
from engine.answering.context import fit_request, window_of
from engine.answering.deciding import Thresholds, decide
from engine.answering.fitting import Fitted
from engine.answering.smalltalk import accepts_offer, reply_to
from engine.generation import Ended, Generator
from engine.language.languages import detect
from engine.language.phrases import language_name, say
from engine.library.visible import visible
from engine.search.index import Found, Hit
from engine.search.knowledge import KnowledgeBase
from engine.support.support import Support
from engine.types import ChatRequest, ChatTurn, Decision, Outcome, Piece, Stopwatch, Usage

# A passage goes into the prompt when its score is at least this share of the best one's.
_WORTH_READING = 0.6
_MOST_HITS = 5


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks, and how long."""

    persona: str
    max_answer_tokens: int


class KnowledgeAnswer:
    """One run. `run` may be called once."""

    def __init__(
        self,
        request: ChatRequest,
        generator: Generator,
        knowledge: KnowledgeBase,
        *,
        voice: Voice,
        thresholds: Thresholds,
        watch: Stopwatch,
    ) -> None:
        self._generator, self._knowledge = generator, knowledge
        self._voice, self._thresholds, self._watch = voice, thresholds, watch
        self._choice = chosen(request.turns)
        self._request = _asking(request, self._choice) if self._choice else request
        self._question = self._request.turns[-1].content
        self._language = request.language
        self._known = self._by_heart()

    @property
    def is_settled(self) -> bool:
        """A choice or small talk: it is about no text of the customer's, whatever was sent earlier."""
        return self._choice is not None or self._known is not None

    async def run(self) -> AsyncGenerator[Piece, None]:
        """Yield pieces of text, then the outcome."""
        if self._known is not None:
            text, decision = self._known
            yield text
            is_none_of_these = self._choice == ""
            yield self._outcome(
                decision=decision,
                confidence=0.0 if is_none_of_these else 1.0,
                wants_person=decision == "hand_over" and not is_none_of_these,
            )
            return
        # Fitted before the search: a message that is too long is told so, whatever it asks.
        self._fit(())
        found = await self._knowledge.search(
            self._question, self._request.turns[:-1], scope=self._request.conversation, limit=_MOST_HITS
        )
        self._watch.lap("search_ms")
        async with aclosing(self._decided(found)) as pieces:
            async for piece in pieces:
                yield piece

    def _by_heart(self) -> tuple[str, Decision] | None:
        """What needs no search: none of the options, a reply to an offered person, small talk."""
        if self._choice == "":
            return say("not_found", self._language), "hand_over"
        earlier = self._request.turns[:-1]
        if earlier and earlier[-1].role == "assistant":
            accepts = accepts_offer(self._question, earlier[-1].content)
            if accepts is not None:
                return (
                    (say("hand_over", self._language), "hand_over")
                    if accepts
                    else (say("declined", self._language), "answer")
                )
        return reply_to(self._question, self._voice.persona, self._language)

    async def _decided(self, found: Found) -> AsyncGenerator[Piece, None]:
        options = readings(found.hits) if found.hits else ()
        was_asked = bool(self._choice)
        decision = decide(self._question, found, options, self._thresholds, was_asked=was_asked)
        told = self._outcome(
            decision=decision,
            confidence=found.confidence,
            found=tuple(dict.fromkeys(hit.passage.document for hit in found.hits)),
        )
        if decision == "hand_over":
            yield say("not_found", self._language)
            yield told
        elif decision == "ask_back":
            yield listed(options, self._language)
            yield replace(told, options=options)
        else:
            worth = [hit for hit in found.hits if hit.score >= _WORTH_READING * found.hits[0].score]
            async with aclosing(self._supported(worth, told)) as answer:
                async for piece in answer:
                    yield piece

    async def _supported(self, hits: Sequence[Hit], told: Outcome) -> AsyncGenerator[Piece, None]:
        """Generate from the passages and release what they support; quote if nothing is."""
        fitted = self._fit([f"{hit.passage.heading}\n{hit.passage.text}" for hit in hits])
        read = [hits[row] for row in fitted.passages] or [hits[0]]
        answer = self._checked(read)
        usage = Usage()
        async with aclosing(self._generate(fitted)) as pieces:
            async for item in pieces:
                if isinstance(item, Ended):
                    usage = item.usage
                    finished = answer.rest() if item.finish_reason == "stop" else []
                else:
                    finished = answer.feed(item)
                for sentence in finished:
                    if released := await answer.release(sentence):
                        yield released
        self._watch.lap("generation_ms")
        if quotation := self._quotation(answer, read):
            yield quotation
        yield replace(
            told, citations=answer.citations() or (read[0].citation(),), usage=usage, window=window_of(fitted)
        )

    def _checked(self, hits: Sequence[Hit]) -> CheckedAnswer:
        texts = [hit.passage.text for hit in hits]
        support = Support(texts, self._knowledge.embedder)
        return CheckedAnswer(support, hits, self._knowledge.relevance(self._question, texts[0]))

    def _quotation(self, answer: CheckedAnswer, hits: Sequence[Hit]) -> str:
        """The passage itself: in place of an answer of which nothing is left, or beside one in another
        language, of which only numbers, names and links could be checked."""
        if not answer.is_empty and not answer.is_exact_only:
            return ""
        quoted = visible(hits[answer.first_row].passage.text).strip()
        language = detect(quoted)
        if language and self._language and language != self._language:
            named = language_name(language, self._language)
            quoted = f"{say('quoted_in', self._language, language=named)}\n{quoted}"
        return quoted if answer.is_empty else f"\n\n{quoted}"

    def _generate(self, fitted: Fitted) -> AsyncGenerator[str | Ended, None]:
        # What is shown is chosen from what is generated: tokens are not told.
        sampling = replace(
            self._request.sampling,
            max_tokens=self._request.sampling.max_tokens or self._voice.max_answer_tokens,
            logprobs=None,
        )
        return self._generator.generate(
            fitted.turns, sampling, self._request.deadline, self._request.conversation
        )

    def _fit(self, passages: Sequence[str]) -> Fitted:
        return fit_request(
            self._request,
            self._generator,
            persona=self._voice.persona,
            max_answer_tokens=self._voice.max_answer_tokens,
            passages=passages,
            language=self._language,
        )

    def _outcome(self, **fields: object) -> Outcome:
        return replace(Outcome(language=self._language), **fields)  # type: ignore[arg-type]


def _asking(request: ChatRequest, question: str) -> ChatRequest:
    """The request with this question for its last turn."""
    return replace(request, turns=(*request.turns[:-1], ChatTurn("user", question)))
