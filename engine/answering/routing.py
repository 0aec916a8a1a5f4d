"""Whether a question is about a text that the customer sent, or for the help pages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from engine.generation import Generator
from engine.library.documents import sentences
from engine.reading.evidence import Evidence, fits_of
from engine.reading.pasted import wants_summary
from engine.reading.reading import best_fit, concerned
from engine.search.index import Found
from engine.search.knowledge import KnowledgeBase
from engine.types import ChatRequest


@dataclass(frozen=True, slots=True)
class Route:
    """Where the request goes: to its texts, with what was found in them so far, or to the help pages."""

    request: ChatRequest
    is_about_texts: bool = False
    evidence: Evidence | None = None


async def route(
    request: ChatRequest, generator: Generator, knowledge: KnowledgeBase, threshold: float
) -> Route:
    """Choose for a request that may have files, new ones or some from earlier, or a text pasted into it.

    A new file is what its message is about, unless it says nothing of it and the help pages do. Anything
    else must fit the question better than the best page.
    """
    about = concerned(request)
    if about is None and not request.files:
        return Route(request)
    asked = about or request
    if about is not None and wants_summary(asked.turns[-1].content):
        return Route(asked, is_about_texts=True)
    evidence = await best_fit(asked, generator, knowledge.embedder)
    question, earlier = asked.turns[-1].content, asked.turns[:-1]
    found = await knowledge.search(question, earlier, scope=request.conversation)
    is_known = bool(found.hits) and found.confidence >= threshold
    if _is_about_texts(request, evidence, is_known=is_known) and (
        not is_known
        or _has_new_file(request)
        or evidence.fit > await _fit_of_page(question, found, knowledge)
    ):
        return Route(asked, is_about_texts=True, evidence=evidence)
    return Route(replace(asked, files=()))


def _is_about_texts(request: ChatRequest, evidence: Evidence, *, is_known: bool) -> bool:
    """Texts that say nothing of the question are asked only where nobody else knows, and they are new."""
    return evidence.answers or (not is_known and (_has_new_file(request) or not request.files))


def _has_new_file(request: ChatRequest) -> bool:
    return any(file.is_new for file in request.files)


async def _fit_of_page(question: str, found: Found, knowledge: KnowledgeBase) -> float:
    """How well the best page's best sentence fits the question, as `Evidence.fit` has it."""
    text = found.hits[0].passage.text
    said = [text[start:end] for start, end in sentences(text)]
    return float((await asyncio.to_thread(fits_of, question, said, knowledge.embedder)).max(initial=0.0))
