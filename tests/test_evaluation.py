"""Labelled questions are judged as their file says, and a report tells what changed."""

import json
from pathlib import Path

import pytest
from scripted import ScriptedEngine

import engine
from engine.errors import BadEvaluationData, BadRequest, Unavailable
from engine.evaluation.calibration_store import DEFAULT_THRESHOLD
from engine.evaluation.evaluation import Evaluation, read_questions
from engine.evaluation.report import compare, read_report, summarise
from engine.generation import Ended
from engine.library.documents import Document
from engine.service import EngineService
from engine.types import Citation, Outcome, Usage

SAMPLE = Path(engine.__file__).parent / "data" / "evaluation.jsonl"
PAGE = "You have 30 days from the day of delivery to return an item. Returns are free. Keep the box."
SENTENCE = "You have 30 days from the day of delivery to return an item."
RETURNS = Document("returns.md", "Returns", PAGE)


@pytest.fixture
def questions(tmp_path):
    """Questions of these rows."""

    def write(*rows):
        path = tmp_path / "questions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_questions(path)

    return write


def row(expect, question="How long may I return it?", **more):
    return {"question": question, "expect": expect, **more}


def cited(quote=SENTENCE, start=0, document="returns.md", **changes):
    citation = Citation(document, "Returns", start, start + len(quote), quote)
    return Outcome(confidence=0.8, citations=(citation,), **changes)


async def asked(question, script=SENTENCE, outcome=None):
    engine = ScriptedEngine(script, outcome=outcome or cited())
    return await Evaluation(engine, [RETURNS]).ask(question)


class TestReading:
    def test_every_bad_line_is_named(self, tmp_path):
        path = tmp_path / "bad.jsonl"
        path.write_text(
            '{"question": "a", "expect": "hand_over"}\n\nno json\n{"question": " ", "expect": "ask_back"}\n'
            '{"question": "a"}\n{"question": "a", "expect": "answer"}\n'
            '{"question": "a", "expect": {"documents": []}}\n'
            '{"question": "a", "expect": {"documents": [1]}}\n'
            '{"question": "a", "expect": "hand_over", "histroy": []}\n[]\n'
            '{"question": "a", "expect": "hand_over", "history": [{"role": "system", "content": "b"}]}\n'
        )
        with pytest.raises(BadEvaluationData) as raised:
            read_questions(path)
        told = str(raised.value)
        assert [number for number in range(1, 12) if f"line {number}:" in told] == list(range(3, 12))
        assert "histroy is no known key" in told

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe"])
    def test_a_file_without_questions_is_refused(self, tmp_path, content):
        path = tmp_path / "questions.jsonl"
        path.write_bytes(content)
        with pytest.raises(BadEvaluationData, match=r"questions\.jsonl"):
            read_questions(path)

    def test_a_file_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(BadEvaluationData, match="cannot be read"):
            read_questions(tmp_path / "none.jsonl")

    def test_the_limit_takes_the_first(self):
        assert [question.line for question in read_questions(SAMPLE, limit=2)] == [1, 2]

    def test_the_sample_questions_expect_pages_that_there_are(self):
        found = read_questions(SAMPLE)
        pages = [Document(path.name, "", "") for path in (SAMPLE.parent / "pages").glob("*.md")]
        assert len(found) >= 60
        assert Evaluation(ScriptedEngine(), pages).unknown_documents(found) == []
        assert {question.expect.decision for question in found} == {"answer", "hand_over", "ask_back"}
        assert any(question.history for question in found)


class TestJudging:
    async def test_an_answer_is_right_when_an_expected_document_is_cited(self, questions):
        right, wrong = questions(
            row({"documents": ["x.md", "returns.md"]}, "a"), row({"documents": ["x.md"]}, "b")
        )
        assert (await asked(right)).is_right
        assert not (await asked(wrong)).is_right

    @pytest.mark.parametrize(
        ("expected", "is_right"),
        [
            ("30 Days", True),
            ("30 days from delivery to return an item", True),
            ("3 days", False),
            ("Ten weeks for lamps", False),
        ],
    )
    async def test_an_answer_is_right_when_it_says_the_text_or_nearly(self, questions, expected, is_right):
        [question] = questions(row({"answer": expected}))
        assert (await asked(question)).is_right is is_right

    async def test_another_decision_is_right_only_where_it_was_expected(self, questions):
        over, back, answer = questions(
            row("hand_over", "a"), row("ask_back", "b"), row({"documents": ["returns.md"]}, "c")
        )
        outcome = Outcome(decision="hand_over", confidence=0.1)
        results = [await asked(question, "I do not know.", outcome) for question in (over, back, answer)]
        assert [result.is_right for result in results] == [True, False, False]

    async def test_the_history_comes_before_the_question(self, questions):
        history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        [question] = questions(row("hand_over", "and then?", history=history))
        engine = ScriptedEngine("?")
        await Evaluation(engine, []).ask(question)
        [request] = engine.requests
        assert [turn.content for turn in request.turns] == ["Hi", "Hello", "and then?"]
        assert request.conversation == ""

    @pytest.mark.parametrize(
        ("outcome", "wrong"),
        [
            (cited(), 0),
            (cited(start=1), 1),
            (cited(document="gone.md"), 1),
            (cited(quote="You have 31 days"), 1),
        ],
    )
    async def test_offsets_are_checked_against_the_document(self, questions, outcome, wrong):
        [question] = questions(row({"documents": ["returns.md"]}))
        result = await asked(question, outcome=outcome)
        assert (result.citations, result.wrong_offsets) == (1, wrong)
        assert result.supported == (0 if wrong else 1)

    async def test_a_sentence_that_no_citation_supports_is_counted(self, questions):
        [question] = questions(row({"documents": ["returns.md"]}))
        said = f"{SENTENCE} Lamps can be returned within 90 days."
        result = await asked(question, said)
        assert (result.sentences, result.supported) == (2, 1)

    async def test_a_question_that_cannot_be_read_is_an_error_of_its_own(self, questions):
        [question] = questions(row({"documents": ["returns.md"]}))
        result = await asked(question, BadRequest("too long"))
        assert (result.decision, result.is_right, result.confidence) == ("error", False, 0.0)
        assert result.answer == "too long"

    async def test_an_engine_that_fails_ends_the_evaluation(self, questions):
        [question] = questions(row("hand_over"))
        with pytest.raises(Unavailable):
            await asked(question, Unavailable("away"))


class TestReporting:
    async def results(self, questions):
        rows = questions(
            row({"documents": ["returns.md"]}, "a"),
            row({"documents": ["shipping.md"]}, "b"),
            row("hand_over", "c"),
            row("hand_over", "d"),
        )
        handed = Outcome(decision="hand_over", confidence=0.3, found=("shipping.md", "returns.md"))
        found = ("returns.md", "shipping.md")
        return [
            await asked(rows[0], outcome=cited(found=found)),
            await asked(rows[1], outcome=cited(found=found)),
            await asked(rows[2], "I do not know.", handed),
            await asked(rows[3], outcome=cited(found=found)),
        ]

    async def test_the_figures_count_what_they_say(self, questions):
        summary = summarise(await self.results(questions))
        shares = {name: (share.right, share.count) for name, share in summary.shares.items()}
        assert shares == {
            "right": (2, 4),
            "hit_at_1": (1, 2),
            "hit_at_3": (2, 2),
            "precision": (1, 3),
            "answered_right": (1, 2),
            "handed_over": (1, 4),
            "hand_over_right": (1, 2),
            "ask_back_right": (0, 0),
            "supported": (3, 3),
            "true_offsets": (3, 3),
        }
        assert summary.auroc == 0.75
        told = summary.to_json()
        assert told["ask_back_right"]["value"] is None
        low, high = told["right"]["interval"]
        assert low < told["right"]["value"] < high

    async def test_an_engine_that_tells_nothing_of_its_search_has_no_hits(self, questions):
        [question] = questions(row({"documents": ["returns.md"]}))
        summary = summarise([await asked(question)])
        assert summary.shares["hit_at_1"].value is None
        assert summary.auroc is None

    async def test_every_changed_row_is_listed(self, questions, tmp_path):
        old = [result.to_json() for result in await self.results(questions)]
        new = json.loads(json.dumps(old))
        new[0] |= {"right": False, "decision": "hand_over", "documents": []}
        new[1] |= {"right": True, "documents": ["shipping.md"]}
        new[2] |= {"answer": "No idea."}
        new[3] |= {"question": "e"}
        changes = {change.question: change for change in compare(old, new)}
        assert {text: change.kind for text, change in changes.items()} == {
            "a": "worsened",
            "b": "improved",
            "c": "changed",
            "d": "gone",
            "e": "new",
        }
        assert changes["a"].what == ("decision: answer → hand_over", "documents: returns.md → –")
        assert compare(old, old) == []

    async def test_a_question_asked_twice_is_compared_one_by_one(self, questions):
        old = [result.to_json() for result in await self.results(questions)][:1] * 2
        new = [old[0], {**old[1], "answer": "Another."}]
        assert [change.kind for change in compare(old, new)] == ["changed"]

    def test_what_is_no_report_is_refused(self, tmp_path):
        path = tmp_path / "old.json"
        for content in ("", "[]", '{"rows": [{"question": "a"}]}'):
            path.write_text(content)
            with pytest.raises(BadEvaluationData, match=r"old\.json is no report"):
                read_report(path)


class Silent:
    """A generator that says nothing, so that every answer becomes a quotation."""

    name, context_length = "silent", 1024

    def count(self, turns):
        return sum(len(turn.content) for turn in turns) // 4

    async def generate(self, turns, sampling, deadline, conversation):
        yield Ended("stop", usage=Usage())


class TestSamplePages:
    async def test_the_sample_questions_are_answered_from_the_sample_pages(self, sample_knowledge):
        service = EngineService(
            Silent(), sample_knowledge, persona="us", hand_over_below=DEFAULT_THRESHOLD, max_answer_tokens=64
        )
        evaluation = Evaluation(service, await sample_knowledge.library.documents())
        summary = summarise([await evaluation.ask(question) for question in read_questions(SAMPLE)])
        shares = summary.shares
        assert shares["true_offsets"].right == shares["true_offsets"].count > 15
        assert shares["supported"].right == shares["supported"].count > 15
        assert shares["hit_at_3"].value > 0.8
        assert shares["precision"].value > 0.75
        assert shares["hand_over_right"].value > 0.7
        assert summary.auroc > 0.9
