"""The judge of the fault suite finds what is planted in a record, and finds nothing in a good one."""

import json
import os
import subprocess
import sys
from pathlib import Path

from fault_judge import judge
from fault_record import Record, read

TESTS = Path(__file__).resolve().parent


class Story:
    """A record being written by hand, one second a line."""

    def __init__(self):
        self.lines = [{"t": 0, "kind": "start"}]

    def add(self, kind, **fields):
        self.lines.append({"t": len(self.lines), "kind": kind, **fields})

    def accept(self, *questions, conversation="c"):
        for q in questions:
            self.add("offer", q=q, conversation=conversation, marks=[f"nonce-{q}"])
            self.add("accept", q=q, conversation=conversation, fresh=True)

    def answer(self, q, ref=None, made="g1x0", channel="c", marks=()):
        text = f"About {q}: within a month. Made as {made}."
        self.add("post", channel=channel, ref=ref or f"ref-{q}", text=text, marks=list(marks))

    def verdict(self):
        return judge(self.lines)


def good(*questions):
    story = Story()
    story.accept(*questions)
    for q in questions:
        story.answer(q)
    return story


def test_a_good_record_is_found_good():
    verdict = good("qload0n0", "qload0n1").verdict()
    assert (verdict.offered, verdict.accepted, verdict.once) == (2, 2, 2)
    assert not (verdict.doubled or verdict.lost or verdict.disordered or verdict.altered or verdict.strangers)
    assert verdict.answer_times == [4, 3]
    assert verdict.backlog_peak == 2


def test_a_second_post_is_a_double():
    story = good("qload0n0")
    story.answer("qload0n0", ref="another")
    assert story.verdict().doubled == ["qload0n0"]
    story.add("delete", channel="c", ref="another")
    assert story.verdict().doubled == []


def test_what_nobody_answered_is_lost():
    story = good("qload0n0")
    story.accept("qload0n1")
    assert story.verdict().lost == ["qload0n1"]


def test_answers_that_changed_places_are_found():
    story = Story()
    story.accept("qload0n0", "qload0n1", "qload0n2")
    for q in ("qload0n1", "qload0n0", "qload0n2"):
        story.answer(q)
    assert story.verdict().disordered == ["qload0n1"]


def test_other_conversations_may_overtake():
    story = Story()
    story.accept("qload0n0", conversation="c")
    story.accept("qload1n0", conversation="d")
    story.answer("qload1n0", channel="d")
    story.answer("qload0n0")
    assert not story.verdict().disordered


def test_half_an_answer_is_none():
    story = Story()
    story.accept("qload0n0")
    story.add("post", channel="c", ref="r", text="About qload0n0: within", marks=[])
    assert (story.verdict().cut, story.verdict().once) == (["qload0n0"], 0)
    story.add("edit", channel="c", ref="r", text="About qload0n0: within a month. Made as g1x0.")
    assert (story.verdict().cut, story.verdict().once) == ([], 1)


def test_an_apology_is_told_and_known_by_its_mark():
    story = Story()
    story.accept("qload0n0")
    story.add("post", channel="c", ref="r", text="Sorry.", marks=["nonce-qload0n0"])
    verdict = story.verdict()
    assert (verdict.told, verdict.lost, verdict.once) == (["qload0n0"], [], 0)
    story.add("post", channel="c", ref="s", text="Sorry.", marks=["nonce-qload0n0"])
    assert story.verdict().told_twice == ["qload0n0"]


def test_a_post_that_belongs_to_nobody_is_a_stranger():
    story = good("qload0n0")
    story.add("post", channel="c", ref="r", text="Hello?", marks=["who knows"])
    assert story.verdict().strangers == 1


def test_another_text_than_the_stored_one_is_found():
    story = Story()
    story.accept("qload0n0")
    story.add("storing", q="qload0n0", made="g1x0", pid=1)
    story.add("stored", q="qload0n0", made="g1x0", pid=1)
    story.answer("qload0n0", made="g2x0")
    assert story.verdict().altered == ["qload0n0"]


def test_an_event_accepted_twice_is_found():
    story = good("qload0n0")
    story.add("offer", q="qload0n0", conversation="c", marks=[])
    story.add("accept", q="qload0n0", conversation="c", fresh=False)
    assert (story.verdict().repeats_offered, story.verdict().repeats_taken) == (1, 0)
    story.add("accept", q="qload0n0", conversation="c", fresh=True)
    assert story.verdict().repeats_taken == 1


def test_recovery_is_from_the_kill_to_the_conversations_next_reply():
    story = Story()
    story.accept("qload0n0", "qload0n1")
    story.accept("qload1n0", conversation="d")
    story.add("began", q="qload0n0", pid=1)
    story.add("began", q="qload1n0", pid=2)
    story.add("kill", what="worker", point="random", pid=1)
    story.answer("qload1n0", channel="d")
    story.answer("qload0n0")
    verdict = story.verdict()
    assert verdict.recovery == [2]
    assert verdict.kills == {"worker random": 1}


def test_a_call_before_the_wait_is_over_is_too_early():
    story = Story()
    story.add("refused", channel="c", act="post", retry_after=3)
    story.add("call", channel="d", act="post")
    story.add("call", channel="c", act="post")
    story.add("call", channel="c", act="post")
    assert story.verdict().too_early == 1


def test_it_recomputes_from_the_file_as_a_program(tmp_path):
    record = Record(tmp_path / "record.jsonl")
    for line in good("qload0n0").lines:
        record.write(**{name: value for name, value in line.items() if name != "t"})
    record.close()
    run = subprocess.run(
        [sys.executable, str(TESTS / "fault_judge.py"), str(record.path)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    assert json.loads(run.stdout)["figures"] == judge(read(record.path)).figures()
