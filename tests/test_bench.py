"""The benchmark on models of some thousand weights: what is counted, who takes part, what is printed."""

import asyncio
import importlib.util
import json
import threading
from io import StringIO
from itertools import pairwise

import pytest
from rich.console import Console

from engine.bench import conversation, figures, http_child, http_part, models, report, roster, table
from engine.bench.bandwidth import read_bandwidth
from engine.bench.contestant import CannotRun, Workload
from engine.bench.figures import DECODE, THROUGHPUT
from engine.bench.plan import make_plan, numbers
from engine.bench.process import ContestantProcess
from engine.bench.report import Report
from engine.bench.rounds import SERIAL_PROMPTS, interleave, random_prompts
from engine.bench.row import Row, report_json
from engine.bench.run import Run
from engine.errors import BadRequest

CONTESTANTS = [
    "transformers-one-by-one-float32",
    "transformers-static-float32",
    "transformers-static-bfloat16",
    "transformers-continuous-float32",
    "ctranslate2-float32",
    "ctranslate2-int8",
    "ours-float32",
    "ours-bfloat16",
    "ours-int8",
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A GPT-2 that is built in a moment."""
    return models.build("tiny-gpt2", tmp_path_factory.mktemp("bench"), "cpu")


@pytest.fixture(scope="module")
def generated(tiny):
    """What a contestant makes of the same three prompts, computed once: a function of its name."""
    runs = {}

    def generate(name):
        if name not in runs:
            contestant = roster.make(name)
            contestant.load(tiny.directory, "cpu", Workload(3, 24))
            try:
                runs[name] = contestant.generate(random_prompts("x", 3, 16, tiny.vocabulary), 8)
            finally:
                contestant.close()
        return runs[name]

    return generate


def run_of(prefill, decode, tokens=3, prompts=1):
    """A run whose prompts have their first token after `prefill` seconds and the last `decode` later."""
    times = [[prefill + decode * step / (tokens - 1) for step in range(tokens)] for _ in range(prompts)]
    return Run.together(prefill + decode, times, [[1] * tokens for _ in range(prompts)])


def row(contestant, value, metric=THROUGHPUT, concurrency=8):
    return Row(metric, value, "tokens/s", "engine", "gpt2", contestant, concurrency, values=(value,))


class Scripted:
    """A contestant that answers in no time, or breaks."""

    def __init__(self, *, is_serial=False, reason=None):
        self.is_serial, self._reason = is_serial, reason
        self.asked = []

    def generate(self, prompts, new_tokens):
        self.asked.append((prompts, new_tokens))
        if self._reason:
            raise CannotRun(self._reason)
        return run_of(0.1, 0.2, max(2, new_tokens), len(prompts))


class TestContestants:
    @pytest.mark.parametrize("name", CONTESTANTS)
    def test_each_generates_exactly_what_is_asked_for_and_says_when(self, generated, name):
        if name.startswith("ctranslate2") and importlib.util.find_spec("ctranslate2") is None:
            pytest.skip("ctranslate2 is not installed")
        run = generated(name)
        assert [len(ids) for ids in run.token_ids] == [8, 8, 8]
        assert [len(times) for times in run.times] == [8, 8, 8]
        assert all(times == sorted(times) for times in run.times)
        assert 0 < run.prefill_seconds < run.seconds
        assert 0 < run.decode_tokens <= 21

    def test_greedy_tokens_agree_in_float32(self, generated):
        alone = generated("transformers-one-by-one-float32").token_ids
        assert generated("transformers-static-float32").token_ids == alone
        assert generated("ours-float32").token_ids == alone

    def test_a_missing_ctranslate2_is_the_reason(self, tiny, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(CannotRun, match=r"not installed: pip install 'frontdesk\[bench\]'"):
            roster.make("ctranslate2-int8").load(tiny.directory, "cpu", Workload(1, 24))

    def test_one_in_a_process_of_its_own_gives_run_and_memory(self, tiny, generated):
        process = ContestantProcess("ours-float32", tiny.directory, "cpu", Workload(3, 24))
        try:
            run = process.generate(random_prompts("x", 3, 16, tiny.vocabulary), 8)
            assert run.token_ids == generated("ours-float32").token_ids
            assert process.memory()["peak_bytes"] > process.idle_bytes > 0
            with pytest.raises(CannotRun, match="Error"):
                process.generate([], 8)
        finally:
            process.close()

    def test_one_that_cannot_load_says_why(self, tiny):
        with pytest.raises(CannotRun, match=r"has no float16 here|is not installed"):
            ContestantProcess("ctranslate2-float16", tiny.directory, "cpu", Workload(1, 24))


class TestRounds:
    @pytest.fixture(autouse=True)
    def no_pauses(self, monkeypatch):
        monkeypatch.setattr("engine.bench.rounds._PAUSE_SECONDS", 0)

    def test_all_get_the_same_prompts_and_each_repeat_others(self):
        workers = {"a": Scripted(), "b": Scripted()}
        runs, broken = interleave(workers, self.prompts, 6, 2, lambda line: None)
        assert workers["a"].asked == workers["b"].asked
        assert [new for _, new in workers["a"].asked] == [4, 6, 6]  # the warm-up is shorter
        assert len({str(prompts) for prompts, _ in workers["a"].asked}) == 3
        assert (len(runs["a"]), broken) == (2, {})

    def test_who_breaks_is_left_out_with_the_reason(self):
        workers = {"a": Scripted(reason="no memory"), "b": Scripted()}
        runs, broken = interleave(workers, self.prompts, 6, 1, lambda line: None)
        assert (list(runs), broken) == (["b"], {"a": "no memory"})

    def test_serial_ones_are_timed_on_fewer_prompts(self):
        worker = Scripted(is_serial=True)
        interleave({"a": worker}, lambda label: [[1]] * 32, 6, 1, lambda line: None)
        assert {len(prompts) for prompts, _ in worker.asked} == {SERIAL_PROMPTS}

    def prompts(self, label):
        return random_prompts(label, 2, 5, 50)


class TestFigures:
    def test_prefill_ends_with_the_last_first_token(self):
        run = Run.together(4.0, [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]], [[5, 5, 5], [6, 6, 6]])
        assert (run.prefill_seconds, run.decode_seconds, run.decode_tokens) == (2.0, 2.0, 3)

    def test_one_after_the_other_waits_and_adds_up(self):
        run = Run.in_turn([run_of(1, 2), run_of(1, 2)])
        assert (run.seconds, run.prefill_seconds, run.decode_seconds, run.decode_tokens) == (6, 2, 4, 4)
        assert [times[0] for times in run.times] == [1, 4]

    def test_figures_are_medians_over_the_repeats(self):
        rows = figures.rows_of(row("ours-int8", 0), [run_of(1, 1), run_of(1, 3), run_of(1, 2)], 128)
        found = {each.metric: (each.value, each.unit) for each in rows}
        assert found[THROUGHPUT] == (1.0, "tokens/s")
        assert found[DECODE] == (1.0, "tokens/s")
        assert found[figures.PREFILL] == (128.0, "tokens/s")
        assert found[figures.FIRST_TOKEN] == (1000.0, "ms")
        assert found[figures.BETWEEN_P50] == (1000.0, "ms")

    def test_ratios_take_the_best_mode_of_the_same_model_and_concurrency(self):
        rows = [
            row("ours-bfloat16", 300),
            row("ctranslate2-float32", 100),
            row("ctranslate2-int8", 150),
            row("ctranslate2-int8", 999, concurrency=1),
            row("transformers-continuous-bfloat16", 120),
            row("transformers-static-bfloat16", 200),
            row("ours-bfloat16", 500, DECODE),
            row("ctranslate2-int8", 200, DECODE),
        ]
        assert {each.name: each.value for each in figures.ratios(rows)} == {
            "gpt2/8/ours-bfloat16/throughput_over_ctranslate2": 2.0,
            "gpt2/8/ours-bfloat16/throughput_over_transformers-continuous": 2.5,
            "gpt2/8/ours-bfloat16/decode_throughput_over_ctranslate2": 2.5,
        }

    def test_the_share_of_the_bandwidth_counts_bytes_by_precision_at_batch_one(self):
        rows = [
            row("ours-bfloat16", 100, DECODE, 1),
            row("ours-int8", 100, DECODE, 1),
            row("x-int8", 1, DECODE, 8),
        ]
        shares = figures.bandwidth_shares(rows, 1000, 1e6)
        assert [each.value for each in shares] == [20.0, 10.0]

    def test_the_quantile_is_a_value_that_occurred(self):
        assert [figures.quantile([1, 2, 3, 4], share) for share in (0.5, 0.99)] == [2, 4]

    def test_weights_that_are_only_looked_up_do_not_count(self, tiny):
        # Vocabulary 512 and width 64 are read by the output layer; 512 positions of width 64 are not.
        layers = 2 * (12 * 64 * 64 + 13 * 64) + 2 * 64
        assert tiny.step_weights == 512 * 64 + layers

    def test_memory_is_read_in_several_ways(self):
        assert all(speed > 1e8 for speed in read_bandwidth("cpu", 8 * 2**20).values())


class TestPlan:
    def test_only_names_contestants_families_and_parts(self):
        names = roster.usual("cpu", True)
        assert roster.choose(["ctranslate2", "http"], names) == [
            "ctranslate2-float32",
            "ctranslate2-int8",
            "http",
        ]
        assert roster.choose(["ours-float32"], names) == ["ours-float32"]
        assert roster.choose([], names)[-2:] == ["conversation", "http"]

    def test_what_does_not_exist_is_told(self):
        with pytest.raises(BadRequest, match="--only vllm"):
            make_plan("cpu", only=["vllm"])
        with pytest.raises(BadRequest, match="--model bert: there is gpt2, qwen"):
            make_plan("cpu", models_wanted=["bert"])
        with pytest.raises(BadRequest, match="--concurrency 1;8"):
            numbers("1;8")

    def test_without_bfloat16_nobody_is_made_to_use_it(self):
        assert not [name for name in roster.usual("cpu", False) if "bfloat16" in name]


class TestConversation:
    def test_each_turn_begins_with_all_that_was_said(self, tiny):
        worker, plan = Scripted(), make_plan("cpu", models_wanted=["tiny-gpt2"])
        seconds = conversation._talk(worker, plan, tiny, "x")
        assert seconds == [0.1] * plan.turns
        said = [prompts[0] for prompts, _ in worker.asked]
        assert len(said[-1]) + plan.new_tokens == 2000
        assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(said))

    def test_the_last_turn_is_compared_with_the_first(self):
        *turns, last = conversation._rows("reuse", [[0.1, 0.2], [0.1, 0.4]], "qwen", "ours-int8")
        assert [each.name for each in turns] == [
            f"qwen/conversation/ours-int8/reuse/turn-{turn}/first_token" for turn in (1, 2)
        ]
        assert (last.value, last.unit) == (3.0, "×")


class TestReport:
    def test_it_is_one_object_with_the_reasons_of_who_is_missing(self):
        made = self.made()
        shape = json.loads(json.dumps(report_json(made.machine, made.rows)))
        assert set(shape) == {"machine", "rows"}
        assert {"cpu", "cores", "flags", "gpu", "torch", "transformers", "date"} <= set(shape["machine"])
        assert all({"name", "value", "unit"} <= set(each) for each in shape["rows"])
        assert len({each["name"] for each in shape["rows"]}) == len(shape["rows"])
        (missing,) = [each for each in shape["rows"] if each["value"] is None]
        assert missing["reason"] == "not installed"

    def test_the_table_shows_figures_ratios_and_reasons(self):
        console = Console(width=100, record=True, file=StringIO())
        console.print(table.render(self.made()))
        shown = console.export_text()
        for part in ("gpt2, 8 at a time", "300", "2.5", "12.0 GB/s", "ctranslate2-int8: not installed"):
            assert part in shown

    def test_a_whole_run_measures_and_relates(self, monkeypatch):
        monkeypatch.setattr(report, "_bandwidth", lambda device: {"sum float32": 1e10})
        said = []
        plan = make_plan(
            "cpu", models_wanted=["tiny-gpt2"], concurrency=[1], repeats=1, only=["ours-float32"]
        )
        made = report.measure(plan, said.append)
        names = {each.name: each.value for each in made.rows}
        for metric in (THROUGHPUT, DECODE, figures.BANDWIDTH_SHARE):
            assert names[f"tiny-gpt2/1/ours-float32/{metric}"] > 0
        assert names["tiny-gpt2/ours-float32/peak_memory"] > 0
        assert names["read_bandwidth"] > 0
        assert "tiny-gpt2, 1 at a time" in said

    def made(self):
        rows = [row("ours-bfloat16", 300), row("transformers-continuous-bfloat16", 120)]
        limit = report._limit_row({"sum float32": 12e9, "dot float32": 11e9})
        missing = figures.skipped("gpt2", "ctranslate2-int8", "engine", "not installed")
        return Report(report.machine.describe("cpu"), [limit, *rows, missing, *figures.ratios(rows)])


async def test_http_counts_every_token_of_every_client(tiny):
    plan = make_plan("cpu", models_wanted=["tiny-gpt2"])
    service = http_child.build(str(tiny.directory), "cpu", "float32", 4)
    ports, stop = [], threading.Event()
    serving = asyncio.create_task(http_child.serve(service, ports.append, stop.wait))
    while not ports:
        assert not serving.done(), serving.result()
        await asyncio.sleep(0.01)
    try:
        assert await http_part._ask_all(ports[0], 8, http_part._messages(plan, "x")[:4]) > 0
    finally:
        stop.set()
        await serving
