"""The CUDA runner without a GPU: its glue on the CPU, its graphs with a recording that computes anew."""

import random
from itertools import pairwise

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from engine.generation import cuda, flash
from engine.generation.arrays import BatchSize, StepArrays, longest_query
from engine.generation.blocks import BlockPool
from engine.generation.cache import CacheShape
from engine.generation.cuda import CudaRunner, PagedCache, num_pages
from engine.generation.cuda_graphs import DecodeGraphs, graph_sizes
from engine.generation.flash import attend_plainly, choose_attention, what_is_wrong, why_no_flash
from engine.generation.model import LoadedModel
from engine.generation.plan import Chunk, Plan, Shift
from engine.generation.scheduler import Scheduler
from engine.generation.sequence import Sequence
from engine.generation.step import lay_out
from engine.types import Sampling

CPU = torch.device("cpu")
PAGE = 256
VOCABULARY = 97
# So large weights make each token depend on all before it: a wrong page, mask or position shows.
LIVELY = {"initializer_range": 0.3, "vocab_size": VOCABULARY}
SHARED = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    **LIVELY,
}
BUILD = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(n_positions=1024, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0, **LIVELY)
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHARED)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHARED, sliding_window=37)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHARED, head_dim=8)),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(architecture):
    torch.manual_seed(1)
    return BUILD[architecture]().float().eval()


def make_runner(model, **options):
    loaded = LoadedModel("tiny", model, None, 1024, CPU, frozenset(), "float32")
    return CudaRunner(loaded, 2**24, 8 * PAGE, **options)


def tokens(count, seed=0):
    return [random.Random(f"{seed}").randrange(VOCABULARY) for _ in range(1)] + [
        random.Random(f"{seed} {place}").randrange(VOCABULARY) for place in range(1, count)
    ]


def sequence(count, blocks, seed=0):
    it = Sequence(tokens(count, seed), Sampling(), max_tokens=100)
    it.blocks = blocks
    return it


@torch.inference_mode()
def reference(architecture, token_ids):
    """The logits behind every token, by transformers' own attention."""
    model = build(architecture)
    model.set_attn_implementation("eager")
    return model(input_ids=torch.tensor([token_ids])).logits[0]


def decoding(*lengths):
    """A step of single tokens, behind so many others each."""
    return lay_out([Chunk(sequence(n + 1, [9 + i, 20 + i], i), n, 1) for i, n in enumerate(lengths)], PAGE)


class TestRun:
    @pytest.mark.parametrize("architecture", BUILD)
    def test_prefill_in_chunks_and_decoding_beside_it_give_what_transformers_computes(self, architecture):
        # Given one sequence over two pages, out of order, and one that comes later
        runner = make_runner(build(architecture))
        long, short = sequence(301, [5, 2], "long"), sequence(40, [0], "short")
        right = {it: reference(architecture, it.token_ids) for it in (long, short)}
        # When it is prefilled in chunks, and then decodes while the other one is prefilled
        results = [
            runner.run(Plan([Chunk(long, 0, 200)])),
            runner.run(Plan([Chunk(long, 200, 100)])),
            runner.run(Plan([Chunk(long, 300, 1), Chunk(short, 0, 39)])),
            runner.run(Plan([Chunk(short, 39, 1)])),
        ]
        # Then only last tokens have logits, and the right ones
        assert [sampled for sampled, _ in results] == [[], [], [long], [short]]
        assert [logits.shape for _, logits in results[:2]] == [(0, VOCABULARY)] * 2
        for it, (_, logits) in zip((long, short), results[2:], strict=True):
            torch.testing.assert_close(logits[0], right[it][-1], rtol=1e-4, atol=1e-4)

    def test_a_whole_scheduler_runs_on_it(self):
        # Given prompts with a common beginning, more than may run at once
        architecture, runner = "qwen3", make_runner(build("qwen3"))
        pool = BlockPool(runner.cache.num_blocks, PAGE)
        scheduler = Scheduler(pool, max_running=2, max_waiting=9, token_budget=128, context_length=1024)
        every = [Sequence(tokens(300) + tokens(n, n), Sampling(), max_tokens=3) for n in (5, 9, 20)]
        for it in every:
            scheduler.add(it)
        # When they are generated greedily
        for _ in range(60):
            plan = scheduler.schedule()
            if plan.is_empty:
                break
            sampled, logits = runner.run(plan)
            scheduler.advance(plan)
            for it, row in zip(sampled, logits, strict=True):
                it.append(int(row.argmax()))
                if it.finish_reason:
                    scheduler.finish(it)
        # Then each has the text that it has on its own
        assert pool.num_hit_tokens
        for it in every:
            best = reference(architecture, it.token_ids).argmax(-1).tolist()
            assert it.generated_ids == best[it.num_prompt - 1 : -1]

    def test_shifts_are_done_first_and_taken_off_the_plan(self):
        runner = make_runner(build("llama"))
        it = sequence(PAGE + 2, [1, 3], "slides")
        runner.run(Plan([Chunk(it, 0, PAGE + 1)]))
        before = runner.cache.values[0][1].clone()
        plan = Plan([Chunk(it, PAGE + 1, 1)], [Shift(it, ((1, 4),), PAGE)])
        runner.run(plan)
        assert plan.shifts == []
        assert torch.equal(runner.cache.values[0][4], before)
        assert not torch.equal(runner.cache.keys[0][4], runner.cache.keys[0][1])

    def test_only_rotary_positions_slide(self):
        assert make_runner(build("llama")).can_slide
        assert not make_runner(build("gpt2")).can_slide

    def test_a_step_that_ran_out_of_memory_can_be_run_again(self, monkeypatch):
        runner = make_runner(build("llama"))
        it = sequence(50, [1])
        attention, calls = runner._forward._attention, []

        def breaks(*arguments, **options):
            calls.append(0)
            if len(calls) == 2:
                raise torch.OutOfMemoryError
            return attention(*arguments, **options)

        monkeypatch.setattr(runner._forward, "_attention", breaks)
        with pytest.raises(torch.OutOfMemoryError):
            runner.run(Plan([Chunk(it, 0, 50)]))
        _, logits = runner.run(Plan([Chunk(it, 0, 50)]))
        torch.testing.assert_close(logits[0], reference("llama", it.token_ids)[-1], rtol=1e-4, atol=1e-4)


class TestGraphs:
    def record(self, runner, sizes, pages=2):
        """Graphs whose replay computes anew, from the memory that a real one would read."""
        recorded = []

        def capture(compute):
            recorded.append(compute().shape[0])
            return compute

        graphs = DecodeGraphs(
            runner._forward,
            capture,
            sizes=sizes,
            pages=pages,
            spare_page=runner.cache.spare_page,
            page_tokens=PAGE,
            device=CPU,
        )
        assert recorded == sorted(sizes, reverse=True)
        return graphs

    @torch.inference_mode()
    def test_a_padded_step_gives_the_same_and_writes_nothing_elsewhere(self):
        # Given three sequences that were prefilled
        model = build("qwen3")
        runner = make_runner(model)
        every = [sequence(n, blocks, n) for n, blocks in ((20, [2]), (270, [4, 1]), (33, [6]))]
        for it in every:
            runner.run(Plan([Chunk(it, 0, it.num_prompt - 1)]))
        plan = Plan([Chunk(it, it.num_prompt - 1, 1) for it in every])
        _, right = runner.run(Plan(list(plan.chunks)))
        # When they decode in graphs for four, then alone
        runner._graphs = self.record(runner, [1, 2, 4])
        sampled, logits = runner.run(plan)
        assert sampled == every
        torch.testing.assert_close(logits, right)
        _, alone = runner.run(Plan([Chunk(every[1], 269, 1)]))
        torch.testing.assert_close(alone[0], right[1])
        # Then pages of nobody are as blank as they were
        for pool in runner.cache.keys:
            assert not pool[0].any() and not pool[3].any() and pool[runner.cache.spare_page].any()

    @torch.inference_mode()
    def test_a_single_token_that_is_not_the_last_has_no_logits(self):
        runner = make_runner(build("llama"))
        runner._graphs = self.record(runner, [2])
        half, whole = sequence(9, [1], "half"), sequence(1, [2], "whole")
        sampled, logits = runner.run(Plan([Chunk(half, 0, 1), Chunk(whole, 0, 1)]))
        assert sampled == [whole]
        torch.testing.assert_close(logits, reference("llama", whole.token_ids), rtol=1e-4, atol=1e-4)

    def test_sizes_are_powers_of_two_and_the_most_that_runs(self):
        assert graph_sizes(1) == [1]
        assert graph_sizes(16) == [1, 2, 4, 8, 16]
        assert graph_sizes(48) == [1, 2, 4, 8, 16, 32, 48]
        assert graph_sizes(1000)[-2:] == [128, 256]

    @torch.inference_mode()
    def test_only_steps_of_single_tokens_that_fit_are_replayed(self):
        graphs = self.record(make_runner(build("gpt2")), [1, 2, 4])
        assert [graphs.size_for(decoding(*[3] * n)) for n in (1, 2, 3, 4, 5)] == [1, 2, 4, 4, None]
        prefill = Chunk(sequence(9, [0]), 0, 9)
        assert graphs.size_for(lay_out([prefill], PAGE)) is None
        assert graphs.size_for(lay_out([prefill, Chunk(sequence(5, [1]), 4, 1)], PAGE)) is None
        assert graphs.size_for(lay_out([Chunk(sequence(5, [1, 2, 3]), 4, 1)], PAGE)) is None

    def test_a_model_that_cannot_be_recorded_runs_without(self, monkeypatch):
        def refuses(device):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

        waited = []
        monkeypatch.setattr(cuda, "CudaCapture", refuses)
        monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
        runner = make_runner(build("gpt2"))
        assert cuda._record(runner._forward, runner.cache, 4, 2, CPU) is None
        assert waited == [CPU]


class TestArrays:
    def filled(self, step, size=None, spare=30):
        size = size or BatchSize.of(step)
        memory = torch.full((size.num_words,), -1)
        arrays = StepArrays.over(memory, size)
        arrays.fill(step, spare, PAGE)
        return arrays

    def test_decodes_and_chunks_become_sequences(self):
        chunk = sequence(300, [7, 8, 9], "chunk")
        arrays = self.filled(lay_out([Chunk(chunk, 250, 40), *_chunks(decoding(3, 256))], PAGE))
        assert arrays.query_starts.tolist() == [0, 1, 2, 42]
        assert arrays.key_starts.tolist() == [0, 4, 261, 551]
        assert arrays.lengths.tolist() == [4, 257, 290]
        assert arrays.tables.tolist() == [[9, 20], [10, 21], [7, 8]]
        assert arrays.slots[:4].tolist() == [9 * PAGE + 3, 21 * PAGE, 7 * PAGE + 250, 7 * PAGE + 251]
        assert arrays.slots[-1] == 8 * PAGE + 289 - PAGE
        assert arrays.positions[0, :3].tolist() == [3, 256, 250]
        assert arrays.rows.tolist() == [0, 1]

    def test_padding_is_tokens_of_their_own_in_the_spare_page(self):
        arrays = self.filled(decoding(3, 256), BatchSize.decoding(4, 3))
        assert arrays.query_starts.tolist() == [0, 1, 2, 3, 4]
        assert arrays.lengths.tolist() == [4, 257, 1, 1]
        assert arrays.slots[2:].tolist() == [30 * PAGE, 30 * PAGE + 1]
        assert arrays.tables.tolist() == [[9, 20, 30], [10, 21, 30], [30] * 3, [30] * 3]
        assert arrays.rows.tolist() == [0, 1, 0, 0]

    def test_a_slid_sequence_lies_where_its_cache_is_and_goes_on_where_its_text_is(self):
        it = sequence(600, [1, 2])
        it.num_dropped = 256
        arrays = self.filled(lay_out([Chunk(it, 599, 1)], PAGE))
        assert (int(arrays.positions), int(arrays.lengths), int(arrays.slots)) == (599, 344, 2 * PAGE + 87)

    def test_nothing_overlaps_and_all_is_aligned(self):
        size = BatchSize(tokens=5, rows=2, sequences=3, pages=3)
        arrays = StepArrays.over(torch.zeros(size.num_words, dtype=torch.int64), size)
        names = StepArrays.__dataclass_fields__
        spans = sorted(
            (it.data_ptr(), it.data_ptr() + it.nbytes) for it in (getattr(arrays, n) for n in names)
        )
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
        assert spans[-1][1] - spans[0][0] <= size.num_words * 8
        assert [getattr(arrays, n).dtype for n in names] == [torch.int64] * 4 + [torch.int32] * 4

    def test_the_longest_query_is_the_longest_chunk(self):
        assert longest_query(decoding(3, 256)) == 1
        assert longest_query(lay_out([Chunk(sequence(9, [0]), 2, 7)], PAGE)) == 7


def _chunks(step):
    return [Chunk(it, len(it.token_ids) - 1, 1) for it in step.sampled]


class TestCache:
    SHAPE = CacheShape(layers=2, kv_heads=4, width=8)
    PAGE_BYTES = 2 * 2 * 4 * 8 * 2 * PAGE

    def test_pages_leave_room_for_the_spare_one(self):
        assert num_pages(self.SHAPE, torch.bfloat16, 10 * self.PAGE_BYTES, 10**6) == 9
        assert num_pages(self.SHAPE, torch.bfloat16, 10 * self.PAGE_BYTES, 3 * PAGE - 1) == 3
        assert num_pages(self.SHAPE, torch.bfloat16, 1, 10**6) == 1
        cache = PagedCache(self.SHAPE, 9, torch.bfloat16, CPU)
        assert cache.num_bytes == 10 * self.PAGE_BYTES
        assert (cache.num_blocks, cache.spare_page, cache.num_tokens) == (9, 9, 9 * PAGE)

    def test_it_takes_nine_tenths_of_what_the_largest_step_left(self, monkeypatch):
        model = build("llama")
        make_runner(model)  # takes the attention
        asked, computed = [], []
        monkeypatch.setattr(
            torch.cuda, "mem_get_info", lambda device: (asked.append(device), (1000, 5000))[1]
        )
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
        monkeypatch.setattr(cuda, "PagedCache", lambda *given: PagedCache(*given[:3], CPU))
        monkeypatch.setattr(cuda, "_compute", lambda forward, step, spare, device: computed.append(step))
        device = torch.device("cuda")
        shape = CacheShape.of(model.config)
        found = cuda._bytes_to_use(model, attend_plainly, shape, torch.float32, device, 64, 512)
        assert (found, asked) == (900, [device])
        (step,) = computed
        assert (step.ids.shape, len(step.rows)) == ((1, 512), 64)

    @torch.inference_mode()
    def test_the_largest_step_can_be_computed(self):
        runner = make_runner(build("llama"))
        step = cuda._largest_step(2, 64, 300)
        logits = cuda._compute(runner._forward, step, runner.cache.spare_page, CPU)
        assert logits.shape == (64, VOCABULARY)


class TestAttention:
    SHAPE = CacheShape(layers=1, kv_heads=2, width=8)

    def test_old_gpus_other_types_and_odd_heads_have_no_flash(self):
        def reason(dtype=torch.bfloat16, width=64, capability=(8, 0), is_built=True):
            return why_no_flash(dtype, width, capability=capability, is_built=is_built)

        assert reason() is None and reason(torch.float16, 256, (10, 0)) is None
        assert "8.0, this GPU has 7.5" in reason(capability=(7, 5))
        assert "float32" in reason(torch.float32)
        assert "without it" in reason(is_built=False)
        assert "512" in reason(width=512) and "36" in reason(width=36)

    def test_plain_operators_without_a_gpu(self):
        assert choose_attention(CPU, torch.float32, 4, self.SHAPE) is attend_plainly

    def test_what_is_tried_out_right_is_taken(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
        monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
        monkeypatch.setattr(flash, "what_is_wrong", lambda *given: None)
        device = torch.device("cuda")
        assert choose_attention(device, torch.bfloat16, 4, self.SHAPE) is flash.varlen_attn
        assert choose_attention(device, torch.float32, 4, self.SHAPE) is attend_plainly

    def test_a_wrong_result_is_found(self):
        def check(attention):
            return what_is_wrong(attention, CPU, torch.bfloat16, 4, self.SHAPE)

        def unlike(**changes):
            return lambda *given, **options: attend_plainly(*given, **(options | changes))

        def refuses(*given, **options):
            raise RuntimeError("Paged KV cache block size must be divisible by 512\ntrace")

        def breaks(*given, **options):
            raise torch.OutOfMemoryError

        assert check(attend_plainly) is None
        assert "wrong" in check(lambda *given, **options: given[0] * torch.nan)
        assert "wrong" in check(unlike(window_size=(69, 0)))
        table = torch.tensor([[1, 3], [2, 0]], dtype=torch.int32)
        assert "wrong" in check(unlike(block_table=table))
        assert check(refuses) == "Paged KV cache block size must be divisible by 512"
        with pytest.raises(torch.OutOfMemoryError):
            check(breaks)

    def test_torchs_attention_takes_what_it_is_given(self):
        """Its shapes and its signature; it computes on a GPU only."""
        given = {}

        def note(*arguments, **options):
            given["arguments"], given["options"] = arguments, options
            return attend_plainly(*arguments, **options)

        runner = make_runner(build("mistral"))
        runner._forward._attention = note
        runner.run(Plan([Chunk(sequence(40, [1]), 0, 40)]))
        moved = [it.to("meta") if isinstance(it, torch.Tensor) else it for it in given["arguments"]]
        options = {
            name: it.to("meta") if isinstance(it, torch.Tensor) else it
            for name, it in given["options"].items()
        }
        assert flash.varlen_attn(*moved, **options).shape == (40, 4, 8)
        assert options["window_size"] == (36, 0) and options["enable_gqa"] and options["num_splits"] == 1

    @pytest.mark.parametrize("architecture", BUILD)
    @torch.inference_mode()
    def test_nothing_in_a_step_waits_for_the_device(self, architecture):
        """On the meta device there is nothing to read, so whoever reads (`item`, `nonzero`) fails."""
        meta = torch.device("meta")
        runner = make_runner(build(architecture))
        model = runner._forward._model.to(torch.bfloat16).to(meta)
        cache = PagedCache(runner.cache.shape, 8, torch.bfloat16, meta)
        forward = cuda.PagedForward(model, cache, flash.varlen_attn)
        half = lay_out([Chunk(sequence(40, [0]), 0, 39)], PAGE)
        for step, rows in ((decoding(3, 256), 2), (half, 0), (cuda._largest_step(2, 64, 300), 64)):
            logits = cuda._compute(forward, step, cache.spare_page, meta)
            assert (logits.shape, logits.device) == ((rows, VOCABULARY), meta)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
class TestOnGpu:
    DEVICE = torch.device("cuda")

    def test_flash_attention_is_taken(self):
        shape = CacheShape(layers=1, kv_heads=2, width=64)
        assert choose_attention(self.DEVICE, torch.bfloat16, 8, shape) is flash.varlen_attn

    def test_replayed_steps_give_what_transformers_computes(self):
        it = sequence(301, [5, 2], "long")
        model = build("qwen3").to(self.DEVICE, torch.bfloat16)
        loaded = LoadedModel("tiny", model, None, 1024, self.DEVICE, frozenset(), "bfloat16")
        runner = CudaRunner(loaded, 2**24, 8 * PAGE, max_running=4)
        assert runner._graphs is not None
        runner.run(Plan([Chunk(it, 0, 300)]))
        _, logits = runner.run(Plan([Chunk(it, 300, 1)]))
        right = reference("qwen3", it.token_ids)[-1]
        assert torch.nn.functional.cosine_similarity(logits[0].float().cpu(), right, 0) > 0.99

    def test_the_cache_is_sized_by_what_is_free(self):
        model = build("llama").to(self.DEVICE, torch.bfloat16)
        loaded = LoadedModel("tiny", model, None, 1024, self.DEVICE, frozenset(), "bfloat16")
        assert CudaRunner(loaded, None, 3 * PAGE).cache.num_blocks == 3
