"""The threshold keeps its promise on the entries it was fitted on, and every engine hears of it."""

import dataclasses
import json

import pytest
from structlog.testing import capture_logs

from bots.redis_server import commands_client
from engine.evaluation.calibration import Case, Curve
from engine.evaluation.calibration_run import FEWEST_ENTRIES, fit
from engine.evaluation.calibration_store import (
    CALIBRATION_KEY,
    DEFAULT_THRESHOLD,
    Calibration,
    CalibrationStore,
)
from engine.evaluation.cases import Cases, as_typed, entries
from engine.evaluation.plot import save_curve
from engine.evaluation.statistics import auroc, quantile, wilson
from engine.library.documents import Document, passages
from engine.search.knowledge import KnowledgeBase

TOPICS = [
    "returns",
    "warranty",
    "delivery",
    "payment",
    "invoice",
    "voucher",
    "password",
    "newsletter",
    "repair",
    "recycling",
]


def faq(name, question, answer, *aliases):
    return Document(name, question, answer, "faq.jsonl", question, aliases)


def cut(*documents):
    return [passage for document in documents for passage in passages(document)]


def case(confidence, *, right=True, known=True, weight=1.0):
    return Case("?", confidence, known, right, weight)


def a_calibration(**changes):
    made = Calibration(
        threshold=0.61,
        precision_asked=0.95,
        precision=0.96,
        interval=(0.9, 0.99),
        share=0.8,
        refused=0.9,
        unknown=0.3,
        entries=40,
        version=3,
        embedder="minilm",
        date="2026-01-01T00:00:00+00:00",
    )
    return dataclasses.replace(made, **changes)


class TestStatistics:
    def test_the_interval_of_wilson_is_the_published_one(self):
        # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I.
        assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
        assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
        assert wilson(0, 0) == (0.0, 1.0)
        with pytest.raises(ValueError, match="no share"):
            wilson(3, 2)

    def test_the_area_counts_pairs_and_half_of_the_ties(self):
        assert auroc([0.9, 0.5], [0.5, 0.1]) == (1 + 1 + 0.5 + 1) / 4
        assert auroc([], [0.5]) != auroc([], [0.5])

    def test_a_quantile_is_one_of_the_values(self):
        assert quantile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
        assert quantile([1.0], 0.95) == 1.0
        with pytest.raises(ValueError, match="no values"):
            quantile([], 0.5)


class TestCurve:
    def test_the_lowest_threshold_with_the_precision_is_taken(self):
        cases = [case(0.9), case(0.8), case(0.7, right=False), case(0.6), case(0.5, right=False)]
        assert Curve(cases).threshold_for(0.75) == 0.6
        assert Curve(cases).threshold_for(0.6) == 0.5
        assert Curve(cases).threshold_for(0.9) == 0.8

    def test_cases_of_one_confidence_are_answered_together(self):
        cases = [case(0.9), case(0.8), case(0.8, right=False)]
        assert Curve(cases).threshold_for(0.9) == 0.9

    def test_a_precision_out_of_reach_has_no_threshold(self):
        wrong = [case(0.9, right=False, known=False)] * 5
        assert Curve([*wrong, case(0.8), case(0.7)]).threshold_for(0.95) is None

    def test_a_threshold_that_answers_next_to_nothing_does_not_count(self):
        cases = [case(0.9), *[case(0.8, right=False)] * 30, *[case(0.7)] * 30]
        assert Curve(cases).threshold_for(0.95) is None

    def test_a_point_weighs_its_cases(self):
        cases = [
            case(0.9, weight=3),
            case(0.8, right=False, known=False),
            case(0.1, known=False, right=False),
        ]
        point = Curve(cases).at(0.5)
        assert (point.precision, point.share, point.refused) == (0.75, 1.0, 0.5)
        assert point.low < 0.75 < point.high

    def test_the_points_go_from_answering_all_to_answering_the_surest(self):
        points = Curve([case(0.2, right=False), case(0.5), case(0.9)]).points()
        assert (points[0].threshold, points[-1].threshold) == (0.2, 0.9)
        assert (points[0].precision, points[-1].precision) == (pytest.approx(2 / 3), 1.0)


class TestCases:
    def test_passages_below_one_heading_are_one_entry(self):
        text = f"# Page\n\n## Long\n\n{'One sentence of it. ' * 90}\n\n## Short\n\nBody."
        found = entries(cut(Document("page.md", "Page", text)))
        assert [entry.questions for entry in found] == [("Long",), ("Short",)]
        assert len(found[0].rows) > 1

    def test_a_question_that_belongs_to_several_entries_asks_for_none(self):
        found = entries(
            cut(faq("a", "Is breakfast included?", "Yes."), faq("b", "Is breakfast included?", "No."))
        )
        assert found == []

    @pytest.mark.parametrize(
        ("question", "typed"),
        [
            ("How do I cancel my order?", "how do i cacnel my order"),
            ("Why?", "why"),
            ("如何退货以及退款?", "如何退以货及退款"),
            ("?", "?"),
        ],
    )
    def test_a_question_as_typed_keeps_its_letters(self, question, typed):
        assert as_typed(question) == typed

    def test_a_withheld_question_can_be_found_by_its_aliases_only(self):
        documents = [
            faq(topic, f"{topic} alpha", "Nothing of it.", f"{topic} beta", topic[::-1]) for topic in TOPICS
        ]
        asked = Cases(cut(*documents), None).ask()
        known = {case.question: case for case in asked if case.is_known}
        assert len(known) >= 2 * len(TOPICS)
        assert all(known[f"{topic} alpha"].is_right for topic in TOPICS)
        # Nothing else of the entry has these words.
        assert not any(known[topic[::-1]].confidence > 0.5 for topic in TOPICS if topic[::-1] in known)

    def test_a_withheld_entry_is_asked_for_and_never_right(self):
        documents = [faq(topic, f"all about {topic}", f"Text on {topic}.") for topic in TOPICS]
        unknown = [case for case in Cases(cut(*documents), None).ask() if not case.is_known]
        assert sorted(case.question for case in unknown) == sorted(f"all about {topic}" for topic in TOPICS)
        assert not any(case.is_right for case in unknown)
        assert not any(case.confidence > 0.9 for case in unknown)

    def test_an_entry_that_says_the_same_makes_no_case(self):
        twins = [faq("a", "red shoes price", "Ten."), faq("b", "price of red shoes", "Ten.")]
        others = [faq(topic, f"all about {topic}", f"Text on {topic}.") for topic in TOPICS]
        asked = Cases(cut(*twins, *others), None).ask()
        assert not [case for case in asked if "shoes" in case.question and not case.is_known]

    def test_known_and_unknown_questions_weigh_as_asked_for(self):
        documents = [faq(topic, f"all about {topic}", f"Text on {topic}.") for topic in TOPICS]
        asked = Cases(cut(*documents), None, unknown=0.2).ask()
        weights = [sum(case.weight for case in asked if case.is_known is known) for known in (True, False)]
        assert weights == [pytest.approx(8.0), pytest.approx(2.0)]

    def test_progress_ends_at_the_end(self):
        heard = []
        documents = [faq(topic, f"all about {topic}", "Text.") for topic in TOPICS]
        Cases(cut(*documents), None).ask(lambda done, total: heard.append((done, total)))
        assert heard[-1][0] == heard[-1][1] == len(heard)


class TestFitting:
    async def test_the_sample_pages_are_fitted_to_the_precision_asked_for(self, sample_knowledge, tmp_path):
        heard = []
        fitted = await fit(
            sample_knowledge, precision=0.9, on_progress=lambda stage, done, total: heard.append(stage)
        )
        found, curve = fitted.calibration, tmp_path / "curve.png"
        assert found.precision >= 0.9
        assert found.interval[0] < found.precision < found.interval[1]
        assert found.share > 0.05
        assert found.entries > 100
        assert (found.version, found.embedder) == (
            sample_knowledge.index.version,
            sample_knowledge.embedder.name,
        )
        assert set(heard) == {"reading", "asking"}
        assert all(case.confidence >= found.threshold and not case.is_right for case in fitted.mistaken)
        save_curve(curve, fitted.points, fitted.chosen, 0.9, "sample pages")
        assert curve.read_bytes().startswith(b"\x89PNG\r\n")
        assert curve.stat().st_size > 10_000

    async def test_too_few_entries_are_told_and_change_nothing(self, store):
        knowledge = KnowledgeBase(store.redis, None)
        await knowledge.refresh()
        fitted = await fit(knowledge, precision=0.95)
        assert (fitted.entries, fitted.calibration) == (0, None)
        assert f"at least {FEWEST_ENTRIES}" in fitted.reason

    async def test_a_precision_out_of_reach_tells_the_best(self, store, tmp_path):
        page = tmp_path / "faq.jsonl"
        rows = [
            {"id": str(number), "question": f"parcel question {number}", "answer": f"answer {number}"}
            for number in range(FEWEST_ENTRIES)
        ]
        page.write_text("".join(json.dumps(row) + "\n" for row in rows))
        knowledge = KnowledgeBase(store.redis, None)
        await knowledge.library.learn([page])
        await knowledge.refresh()
        fitted = await fit(knowledge, precision=1.01, unknown=0.9)
        assert fitted.calibration is None
        assert "the best is" in fitted.reason
        assert fitted.points


class TestStore:
    async def test_another_engine_hears_of_it_within_a_second(self, store, redis_url, monkeypatch):
        now = [100.0]
        monkeypatch.setattr("engine.evaluation.calibration_store.time.monotonic", lambda: now[0])
        engine = CalibrationStore(store.redis, "minilm")
        assert await engine.threshold() == DEFAULT_THRESHOLD
        async with commands_client(redis_url) as other:
            await CalibrationStore(other).save(a_calibration())
        now[0] += 1
        assert await engine.threshold() == 0.61

    async def test_a_setting_wins(self, store):
        calibrations = CalibrationStore(store.redis, "minilm")
        await calibrations.save(a_calibration())
        assert await calibrations.threshold(0.2) == 0.2
        assert await calibrations.threshold(None) == 0.61

    async def test_it_is_read_back_as_it_was_stored(self, store):
        calibrations = CalibrationStore(store.redis, "minilm")
        assert await calibrations.load() is None
        await calibrations.save(a_calibration())
        assert await calibrations.load() == a_calibration()

    async def test_one_of_another_embedder_does_not_count_and_is_told_once(self, store, monkeypatch):
        monkeypatch.setattr("engine.evaluation.calibration_store._BELIEVED_SECONDS", 0)
        await CalibrationStore(store.redis).save(a_calibration(embedder="another"))
        engine = CalibrationStore(store.redis, "minilm")
        with capture_logs() as logs:
            assert await engine.threshold() == DEFAULT_THRESHOLD
            assert await engine.threshold() == DEFAULT_THRESHOLD
        [told] = logs
        assert (told["calibrated_with"], told["now"]) == ("another", "minilm")

    async def test_the_last_one_stays_while_redis_is_away(self, store, monkeypatch):
        monkeypatch.setattr("engine.evaluation.calibration_store._BELIEVED_SECONDS", 0)
        engine = CalibrationStore(store.redis, "minilm")
        await engine.save(a_calibration())
        assert await engine.threshold() == 0.61
        async with commands_client("redis://127.0.0.1:1/0") as nowhere:
            monkeypatch.setattr(engine, "_redis", nowhere)
            with capture_logs() as logs:
                assert await engine.threshold() == 0.61
        assert "cannot be read" in logs[0]["event"]

    async def test_what_nobody_can_read_is_not_used(self, store):
        await store.redis.set(CALIBRATION_KEY, "{}")
        assert await CalibrationStore(store.redis, "minilm").threshold() == DEFAULT_THRESHOLD
