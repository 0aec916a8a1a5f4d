"""Labelled questions in, what became of each out. Asks any engine; knows not how the result is reported."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from engine.errors import BadEvaluationData, BadRequest
from engine.library.documents import Document, sentences
from engine.support.support import Support, has_substance
from engine.types import ChatRequest, ChatTurn, Citation, Decision, Engine, Outcome

# Rajpurkar et al., SQuAD, 2016, count an answer by the F1 of its words; from here up it says the same.
SAME_FROM_F1 = 0.6
_WORD = re.compile(r"\w+")
_SHAPE = (
    'expected {"question": text, "history": [{"role", "content"}], "expect": …}, where expect is '
    '{"documents": [ids]}, {"answer": text}, "hand_over" or "ask_back"'
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What ought to become of a question: documents of which one is cited, a text, or another decision."""

    decision: Literal["answer", "hand_over", "ask_back"] = "answer"
    documents: tuple[str, ...] = ()
    text: str = ""

    def to_json(self) -> Any:
        """As it stands in the file."""
        if self.decision != "answer":
            return self.decision
        return {"documents": list(self.documents)} if self.documents else {"answer": self.text}


@dataclass(frozen=True, slots=True)
class Question:
    """A line of the file."""

    line: int
    text: str
    history: tuple[ChatTurn, ...]
    expect: Expectation


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a question."""

    question: Question
    decision: Decision | Literal["error"]
    """`error` for a question that the engine refused to read."""
    is_right: bool
    """The decision is the expected one, and what was answered is right."""
    confidence: float
    answer: str
    cited: tuple[str, ...]
    """Ids of documents."""
    found: tuple[str, ...]
    """Ids of the documents that fitted best, best first; empty where nothing was searched for."""
    citations: int
    wrong_offsets: int
    """Citations whose offsets do not give their quotation."""
    sentences: int
    """Of the answer, those that say something."""
    supported: int
    """Of these, how many are quotations or supported by one whose offsets are right."""
    milliseconds: float

    def to_json(self) -> dict[str, Any]:
        """One row of the report."""
        question = self.question
        return {
            "line": question.line,
            "question": question.text,
            "history": [{"role": turn.role, "content": turn.content} for turn in question.history],
            "expect": question.expect.to_json(),
            "decision": self.decision,
            "right": self.is_right,
            "confidence": round(self.confidence, 4),
            "documents": list(self.cited),
            "found": list(self.found),
            "answer": self.answer,
            "wrong_offsets": self.wrong_offsets,
            "ms": round(self.milliseconds, 1),
        }


def read_questions(path: Path, limit: int | None = None) -> list[Question]:
    """The file's questions, the first `limit` of them.

    Raises `BadEvaluationData` naming every line that is no question: nothing is evaluated by half.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadEvaluationData(f"{path} cannot be read: {error}") from error
    questions, problems = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            questions.append(_read_question(number, json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"line {number}: {_told(error)}")
    if problems:
        raise BadEvaluationData(f"{path}: {'; '.join(problems)}. Each line: {_SHAPE}")
    if not questions:
        raise BadEvaluationData(f"{path} has no questions. Each line: {_SHAPE}")
    return questions[:limit]


def _told(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return f"no JSON ({error.msg})" if isinstance(error, json.JSONDecodeError) else str(error)


def _read_question(number: int, row: Any) -> Question:
    if not isinstance(row, dict):
        raise TypeError("no object")
    if unknown := sorted(set(row) - {"question", "history", "expect", "id"}):
        raise ValueError(f"{', '.join(unknown)} is no known key")
    history = tuple(_read_turn(turn) for turn in row.get("history") or ())
    return Question(number, _text(row["question"], "question"), history, _read_expectation(row["expect"]))


def _read_turn(turn: Mapping[str, Any]) -> ChatTurn:
    if turn["role"] not in ("user", "assistant"):
        raise ValueError("a role in the history is neither user nor assistant")
    return ChatTurn(turn["role"], _text(turn["content"], "a content in the history"))


def _read_expectation(value: Any) -> Expectation:
    if value in ("hand_over", "ask_back"):
        return Expectation(decision=value)
    if isinstance(value, dict) and set(value) == {"documents"} and isinstance(value["documents"], list):
        if not value["documents"]:
            raise ValueError("documents is empty: name one, or expect hand_over")
        return Expectation(documents=tuple(_text(name, "a document") for name in value["documents"]))
    if isinstance(value, dict) and set(value) == {"answer"}:
        return Expectation(text=_text(value["answer"], "answer"))
    raise ValueError('expect is none of {"documents": […]}, {"answer": …}, "hand_over", "ask_back"')


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{name} is no text")
    return value


class Evaluation:
    """Asks one question after the other, so that the times are those of one customer."""

    def __init__(self, engine: Engine, documents: Sequence[Document]) -> None:
        """Parameters
        documents: what the engine has learned, against which its citations are checked
        """
        self._engine = engine
        self._texts = {document.id: document.text for document in documents}

    def unknown_documents(self, questions: Sequence[Question]) -> list[tuple[int, str]]:
        """Expected documents that nobody has learned, with their lines: these questions cannot be right."""
        return [
            (question.line, name)
            for question in questions
            for name in question.expect.documents
            if name not in self._texts
        ]

    async def ask(self, question: Question) -> Result:
        """Ask it as a customer would; nothing is stored or posted. Raises what the engine raises."""
        turns = (*question.history, ChatTurn("user", question.text))
        answer, outcome, started = "", Outcome(), time.monotonic()
        decision: Decision | Literal["error"] = "error"
        try:
            async with aclosing(self._engine.chat(ChatRequest(turns))) as pieces:
                async for piece in pieces:
                    if isinstance(piece, str):
                        answer += piece
                    elif isinstance(piece, Outcome):
                        outcome, decision = piece, piece.decision
        except BadRequest as error:  # the question's fault, not the engine's: the others go on
            answer = str(error)
        return self._judged(question, answer, decision, outcome, (time.monotonic() - started) * 1000)

    def _judged(
        self,
        question: Question,
        answer: str,
        decision: Decision | Literal["error"],
        outcome: Outcome,
        milliseconds: float,
    ) -> Result:
        true = [citation for citation in outcome.citations if self._is_true(citation)]
        said = [answer[start:end] for start, end in sentences(answer)] if decision == "answer" else []
        said = [sentence for sentence in said if has_substance(sentence)]
        cited = tuple(dict.fromkeys(citation.document for citation in outcome.citations))
        return Result(
            question=question,
            decision=decision,
            is_right=decision == question.expect.decision
            and (decision != "answer" or _is_right(question.expect, answer, cited)),
            confidence=outcome.confidence if decision != "error" else 0.0,
            answer=answer.strip(),
            cited=cited,
            found=outcome.found,
            citations=len(outcome.citations),
            wrong_offsets=len(outcome.citations) - len(true),
            sentences=len(said),
            supported=_supported(said, [citation.quote for citation in true]),
            milliseconds=milliseconds,
        )

    def _is_true(self, citation: Citation) -> bool:
        text = self._texts.get(citation.document)
        return text is not None and text[citation.start : citation.end] == citation.quote


def _is_right(expect: Expectation, answer: str, cited: Sequence[str]) -> bool:
    """One of the expected documents is cited, or the expected text is said, in these words or nearly."""
    if expect.documents:
        return not set(expect.documents).isdisjoint(cited)
    wanted, said = _words(expect.text), _words(answer)
    return f" {' '.join(wanted)} " in f" {' '.join(said)} " or f1(wanted, said) >= SAME_FROM_F1


def f1(wanted: Sequence[str], said: Sequence[str]) -> float:
    """The harmonic mean of the shares of words in common, in [0, 1]."""
    common = sum((Counter(wanted) & Counter(said)).values())
    return 2 * common / (len(wanted) + len(said)) if common else 0.0


def _words(text: str) -> list[str]:
    return cast("list[str]", _WORD.findall(text.casefold()))


def _supported(said: Sequence[str], quotes: Sequence[str]) -> int:
    if not quotes:
        return 0
    flat = [" ".join(quote.split()) for quote in quotes]
    support = Support(list(quotes))
    return sum(
        any(" ".join(sentence.split()) in quote for quote in flat) or support.find(sentence) is not None
        for sentence in said
    )
