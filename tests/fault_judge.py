"""Judges the record of a run under faults: what customers saw, from the platform's own lines alone.

Knows nothing of frontdesk. As a program (`python tests/fault_judge.py RECORD`) it recomputes every figure.
The lines: `offer` and `accept` by who hands messages in, `post`, `edit` and `delete` by the platform as they
took effect, `call` and `refused` as calls came in, `began`, `storing`, `stored` and `finished` by workers,
`kill` by whoever killed, `dead` for dead letters, `log` for warnings in the workers' log.
"""

import json
import math
import re
import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field

from fault_record import read

QUESTION = re.compile(r"\bq[a-z]+\d+n\d+\b")
ANSWER = re.compile(r"About (q[a-z]+\d+n\d+): .* Made as (g\w+)\.")
"""A whole answer, as `fault_engine.ScriptedAnswers` writes it: the question, and which generation it is."""

_IN_FLIGHT = 0.1
"""Seconds within which a call takes effect whose caller was killed."""


def quantile(values, share):
    """The smallest value that at least `share` of the values do not exceed; None without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


@dataclass
class Verdict:
    """What became of every question; lists name them. Times in seconds."""

    offered: int = 0
    accepted: int = 0
    once: int = 0
    doubled: list = field(default_factory=list)
    lost: list = field(default_factory=list)
    """Accepted, and neither answered nor told that there is no answer."""
    cut: list = field(default_factory=list)
    """What is to be seen of their answer is not the whole of it."""
    disordered: list = field(default_factory=list)
    """Answered before a question that the same conversation had accepted earlier."""
    dead: list = field(default_factory=list)
    told: list = field(default_factory=list)
    """Their author read something else than an answer."""
    told_twice: list = field(default_factory=list)
    altered: list = field(default_factory=list)
    """Shown is another text than the one that was stored."""
    strangers: int = 0
    """Posts that belong to no question."""
    too_early: int = 0
    """Calls to a channel before its Retry-After was over."""
    fastest_posts: int = 0
    """The most posts to one channel within one second."""
    repeats_offered: int = 0
    repeats_taken: int = 0
    kills: dict = field(default_factory=dict)
    recovery: list = field(default_factory=list)
    """From a kill to the next reply in each conversation that the victim had in hand."""
    answer_times: list = field(default_factory=list)
    backlog_peak: int = 0
    drain_seconds: float = 0.0
    logged: dict = field(default_factory=dict)
    """How often each warning stands in the workers' log."""

    def figures(self):
        """Numbers instead of lists, milliseconds instead of samples."""
        found = {
            name: len(value) if isinstance(value, list) else value for name, value in asdict(self).items()
        }
        for name, values in (("recovery", self.recovery), ("answer", self.answer_times)):
            found[f"{name}_ms"] = {
                label: None if (value := quantile(values, share)) is None else round(1000 * value)
                for label, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            }
        found["drain_seconds"] = round(self.drain_seconds, 2)
        del found["answer_times"]
        return found


def judge(lines):
    """The verdict on a record's lines."""
    shown = _Shown(lines)
    verdict = Verdict()
    _count_offers(lines, verdict)
    accepted = _accepted(lines)
    verdict.accepted = len(accepted)
    for question in accepted:
        _judge_one(question, shown, verdict)
    verdict.strangers = len(shown.strangers)
    verdict.dead = [line["q"] for line in lines if line["kind"] == "dead"]
    verdict.disordered = _disordered(accepted, shown)
    verdict.altered = _altered(lines, shown)
    _judge_pace(lines, verdict)
    verdict.kills = dict(Counter(f"{k['what']} {k['point']}" for k in lines if k["kind"] == "kill"))
    verdict.recovery = _recoveries(lines, accepted, shown)
    _judge_times(lines, accepted, shown, verdict)
    verdict.logged = dict(Counter(line["event"] for line in lines if line["kind"] == "log"))
    return verdict


class _Shown:
    """What the platform showed: the posts of each question, in the order in which they appeared."""

    def __init__(self, lines):
        questions = {mark: line["q"] for line in lines if line["kind"] == "offer" for mark in line["marks"]}
        self.posts = defaultdict(list)
        self.strangers = []
        self.whole_at = {}
        self.times = defaultdict(list)
        """When something was shown, by conversation."""
        conversations = {line["q"]: line["conversation"] for line in lines if line["kind"] == "offer"}
        by_ref = {}
        for number, line in enumerate(lines):
            where = (line.get("channel"), line.get("ref"))
            if line["kind"] == "post":
                by_ref[where] = {"at": line["t"], "number": number, "text": line["text"], "channel": where[0]}
                self._assign(by_ref[where], line, questions)
            elif line["kind"] == "edit" and where in by_ref:
                by_ref[where]["text"] = line["text"]
            elif line["kind"] == "delete" and where in by_ref:
                by_ref[where]["text"] = None
            if line["kind"] in ("post", "edit"):
                self._time(line, conversations)

    def _time(self, line, conversations):
        if named := QUESTION.search(line["text"]):
            self.times[conversations.get(named[0])].append(line["t"])
        if found := ANSWER.search(line["text"]):
            self.whole_at.setdefault(found[1], line["t"])

    def _assign(self, post, line, questions):
        marked = next((questions[mark] for mark in line["marks"] if mark in questions), None)
        named = QUESTION.search(line["text"])
        question = named[0] if named else marked
        if question is None:
            self.strangers.append(post)
        else:
            self.posts[question].append(post)

    def visible(self, question):
        return [post for post in self.posts[question] if post["text"] is not None]


def _count_offers(lines, verdict):
    offers = Counter(line["q"] for line in lines if line["kind"] == "offer")
    accepts = Counter(line["q"] for line in lines if line["kind"] == "accept" and line["fresh"])
    verdict.offered = len(offers)
    verdict.repeats_offered = sum(offers.values()) - len(offers)
    verdict.repeats_taken = sum(accepts.values()) - len(accepts)


def _accepted(lines):
    """When each question was accepted, and in which conversation, in order."""
    found = {}
    for line in lines:
        # One that is known already is accepted, too: Redis' client may have repeated a step whose answer a
        # kill took away.
        if line["kind"] == "accept":
            found.setdefault(line["q"], line)
    return found


def _judge_one(question, shown, verdict):
    posts = shown.visible(question)
    answers = [post for post in posts if f"About {question}:" in post["text"]]
    others = [post for post in posts if post not in answers]
    if len(answers) > 1:
        verdict.doubled.append(question)
    elif len(answers) == 1:
        is_whole = bool(ANSWER.search(answers[0]["text"]))
        verdict.once += is_whole
        if not is_whole:
            verdict.cut.append(question)
    if others:
        verdict.told.append(question)
        if len(others) > 1:
            verdict.told_twice.append(question)
    if not posts:
        verdict.lost.append(question)


def _disordered(accepted, shown):
    """Questions whose answer appeared before that of one which its conversation had accepted earlier."""
    by_conversation = defaultdict(list)
    for number, (question, line) in enumerate(accepted.items()):
        if shown.posts[question]:
            by_conversation[line["conversation"]].append(
                (shown.posts[question][0]["number"], number, question)
            )
    found = []
    for answered in by_conversation.values():
        earliest_open = math.inf
        for _, number, question in sorted(answered, reverse=True):
            if number > earliest_open:
                found.append(question)
            earliest_open = min(earliest_open, number)
    return found


def _altered(lines, shown):
    storing, stored = defaultdict(list), defaultdict(list)
    for line in lines:
        if line["kind"] in ("storing", "stored"):
            (storing if line["kind"] == "storing" else stored)[line["q"]].append(line["made"])
    found = []
    for question in storing:
        for post in shown.visible(question):
            whole = ANSWER.search(post["text"])
            kept = stored[question][:1] or storing[question]
            if whole and whole[2] not in kept:
                found.append(question)
    return found


def _judge_pace(lines, verdict):
    until, posts = {}, defaultdict(list)
    for line in lines:
        if line["kind"] == "refused":
            where = (line["channel"], line["act"])
            until[where] = max(until.get(where, 0), line["t"] + line["retry_after"])
        elif line["kind"] == "call":
            # A timer may fire a hair early; a real platform's clock is no finer.
            verdict.too_early += line["t"] < until.get((line["channel"], line["act"]), 0) - 0.02
        elif line["kind"] == "post":
            posts[line["channel"]].append(line["t"])
    for times in posts.values():
        start = 0
        for end, time in enumerate(times):
            while time - times[start] >= 1:
                start += 1
            verdict.fastest_posts = max(verdict.fastest_posts, end - start + 1)


def _recoveries(lines, accepted, shown):
    """For each kill, and each conversation in the victim's hand without a whole answer: until something was
    shown there again. What the victim had sent already takes effect within a moment, and is no recovery.
    """
    in_hand, found = defaultdict(set), []
    for line in lines:
        if line["kind"] == "began" and line["q"] in accepted:
            in_hand[line["pid"]].add(line["q"])
        elif line["kind"] == "finished":
            in_hand[line["pid"]].discard(line["q"])
        elif line["kind"] == "kill" and line["what"] == "worker":
            over = line["t"] + _IN_FLIGHT
            waiting = [q for q in in_hand.pop(line["pid"], ()) if shown.whole_at.get(q, math.inf) > over]
            for conversation in {accepted[q]["conversation"] for q in waiting}:
                if later := [t for t in shown.times[conversation] if t > over]:
                    found.append(min(later) - line["t"])
    return found


def _judge_times(lines, accepted, shown, verdict):
    offered = {}
    for line in lines:
        if line["kind"] == "offer":
            offered.setdefault(line["q"], line["t"])
    answered = {q: shown.whole_at[q] for q in accepted if q in shown.whole_at}
    verdict.answer_times = [at - offered[q] for q, at in answered.items()]
    steps = [(line["t"], 1) for line in accepted.values()] + [(at, -1) for at in answered.values()]
    waiting = 0
    for _, step in sorted(steps):
        waiting += step
        verdict.backlog_peak = max(verdict.backlog_peak, waiting)
    if answered:
        verdict.drain_seconds = max(0.0, max(answered.values()) - max(offered.values()))


if __name__ == "__main__":
    verdict = judge(read(sys.argv[1]))
    print(json.dumps({"figures": verdict.figures(), "named": asdict(verdict)}, indent=1, default=str))
