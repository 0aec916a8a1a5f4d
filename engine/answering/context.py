"""A request's way into the model's context: what may go in, and what of it fits."""

from __future__ import annotations

from collections.abc import Sequence

from engine.answering.fitting import Fitted, Material, fit
from engine.errors import ContextTooLong
from engine.generation import Generator
from engine.prompt import ask, system_turn, with_summary
from engine.search.bm25 import BM25
from engine.types import ChatRequest, ChatTurn, Window

# No text has fewer tokens than one for so many characters.
_MOST_CHARACTERS_A_TOKEN = 32


def fit_request(
    request: ChatRequest,
    generator: Generator,
    *,
    persona: str,
    max_answer_tokens: int,
    passages: Sequence[str] = (),
    language: str = "",
) -> Fitted:
    """Fit the request's turns, its summary and the passages into the generator's context.

    Room for the answer is kept free, but never more than half of the context. Raises `ContextTooLong`.
    """
    *earlier, message = request.turns
    history = [turn for turn in earlier if turn.role != "system"]
    system = _system(request, earlier, persona)
    if len(message.content) > _MOST_CHARACTERS_A_TOKEN * generator.context_length:
        # Not counted: that alone would take seconds.
        raise ContextTooLong(tokens=len(message.content) // 4, limit=generator.context_length // 2)
    reserved = min(request.sampling.max_tokens or max_answer_tokens, generator.context_length // 2)
    material = Material(
        system=system,
        message=message.content,
        ask=lambda found, text: ask(found, text, language),
        passages=passages,
        history=history,
        matters=lambda: _matters(message.content, history),
        summary=with_summary(system, request.summary) if request.summary else None,
    )
    return fit(material, count=generator.count, budget=generator.context_length - reserved)


def window_of(fitted: Fitted) -> Window:
    """What of the conversation went in, as the caller is told."""
    return Window(
        passages=len(fitted.passages),
        turns_used=len(fitted.history),
        turns_left_out=fitted.turns_left_out,
        is_summary_used=fitted.is_summary_used,
    )


def _system(request: ChatRequest, earlier: Sequence[ChatTurn], persona: str) -> ChatTurn | None:
    """The caller's own system turns, else ours where the answer comes from the help pages."""
    given = [turn.content for turn in earlier if turn.role == "system"]
    if given:
        return ChatTurn("system", "\n\n".join(given))
    return system_turn(persona) if request.knowledge else None


def _matters(message: str, history: Sequence[ChatTurn]) -> list[float]:
    """The share of the message's words, by rarity, that each turn has."""
    return [float(share) for share in BM25([turn.content for turn in history]).search(message)[1]]
