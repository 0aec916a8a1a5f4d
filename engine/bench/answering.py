"""The answering benchmark: every figure on labelled questions, beside plain searches on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from engine.bench import answering_others, answering_texts, answering_threshold
from engine.bench.answering_rows import PART
from engine.bench.answering_search import Answers, exactness, search
from engine.bench.answering_sets import Rows, Task, is_odd, is_third
from engine.bench.figures import CANNOT_RUN
from engine.bench.row import Row
from engine.search.embedder import Embedder


def measure(data: Path, embedder: Embedder | None, say: Callable[[str], None]) -> list[Row]:
    """Every figure, or one row with the reason why there is none."""
    rows = Rows(data)
    if missing := rows.missing():
        return [_skipped(f"{data} lacks {', '.join(missing)}")]
    if embedder is None:
        return [_skipped("no embedder can be loaded")]
    return list(_measured(rows, embedder, say))


def _measured(rows: Rows, embedder: Embedder, say: Callable[[str], None]) -> Iterator[Row]:
    done: list[Answers] = []

    def ask(task: Task, turns: int = 0) -> Answers:
        say(f"  {task.name}: {len(task.asked):,} questions, {len(task.documents):,} documents")
        done.append(search(task, embedder, turns=turns))
        return done[-1]

    for name, target in (("stackfaq", 0.97), ("covidfaq", 0.58), ("banking77", 0.82)):
        yield from ask(rows.faq(name)).hits(target)
    yield from ask(rows.product_faq()).hits(0.7)
    yield from ask(rows.faq("clinc")).abstaining("clinc, 5 aliases", 0.955)
    yield from ask(_in_scope(rows.faq("clinc", is_odd))).abstaining("clinc, near out of scope", 0.88)
    withheld = ask(rows.faq("stackfaq", is_third))
    yield from withheld.abstaining("stackfaq, 30 % withheld", 0.95)
    yield from answering_threshold.rows(withheld, embedder, 0.96, 0.85)
    yield from ask(rows.entities(), turns=2).hits(0.57)
    yield from ask(rows.forum(), turns=2).hits(0.89)
    yield exactness(done)
    say("  long texts")
    yield from answering_texts.measure(rows, embedder)
    yield from answering_others.measure(rows.folder, embedder, say)


def _in_scope(task: Task) -> Task:
    """Without the questions that no entry ever answered: what is left is near to what is known."""
    return Task(task.name, task.documents, [asked for asked in task.asked if asked.gold], task.withheld)


def _skipped(reason: str) -> Row:
    return Row(CANNOT_RUN, None, "", PART, reason=reason)
