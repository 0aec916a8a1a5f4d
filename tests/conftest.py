"""What many tests need: a real Redis, a small real model, a store, and an engine in this process."""

import asyncio
import contextlib
import copy
import functools
import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import redis as sync_redis
from running import FrontdeskUp

from bots.build import open_store
from bots.errors import StartError
from bots.redis_server import find_server, start_server, stop
from bots.settings import Settings
from engine.log import configure

configure("warning")
pytest.register_assert_rewrite("conformance", "harness")
# Read when huggingface_hub is imported, which no test has done yet: nothing may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No setting of the machine reaches a test, and no test writes outside its own folder."""
    for name in list(os.environ):
        if name.startswith("FRONTDESK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)  # a command that ran here sets its own


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    """Small models gain nothing from more, and on a busy machine threads wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def redis_process():
    """A Redis of our own on a private socket, for the whole run: its URL."""
    try:
        find_server()
    except StartError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    folder = Path(tempfile.mkdtemp(prefix="frontdesk-test-"))
    socket = folder / "redis.sock"
    process = start_server(folder, socket)
    client = sync_redis.Redis(unix_socket_path=str(socket))
    for _ in range(200):
        with contextlib.suppress(sync_redis.RedisError):
            client.ping()
            break
        asyncio.run(asyncio.sleep(0.02))
    yield f"unix://{socket}"
    client.close()
    stop(process)
    shutil.rmtree(folder)


@pytest.fixture
def redis_url(redis_process):
    """An empty Redis."""
    client = sync_redis.Redis.from_url(redis_process)
    client.flushall()
    client.close()
    return redis_process


@pytest.fixture
def settings(tmp_path):
    """Settings with a data folder of this test's own."""
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
async def store(settings, redis_url):
    """Everything that lives in Redis."""
    async with open_store(settings, redis_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory):
    """A GPT-2 of some thousand random weights with a byte-level tokenizer, as a Hugging Face directory."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from engine.training import StarterShape, _new_tokenizer

    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("model")
    shape = StarterShape(vocabulary=300, context=256)
    tokenizer = _new_tokenizer(["the quick brown fox jumps over the lazy dog " * 5], shape)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=shape.context,
        n_embd=32,
        n_layer=2,
        n_head=4,
        bos_token_id=end,
        eos_token_id=end,
    )
    GPT2LMHeadModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


CACHE_BYTES = 2**24
"""For models of some thousand weights."""


@pytest.fixture
def share_runner(monkeypatch):
    """Let whoever runs this model, one at a time, have this runner: making one takes about a second."""
    from engine.generation import local

    def share(shared, runner):
        make = local.make_runner

        def found(loaded, *limits, **more):
            return runner if loaded is shared else make(loaded, *limits, **more)

        monkeypatch.setattr(local, "make_runner", found)

    return share


def runner_of(loaded, cache_bytes=CACHE_BYTES):
    """A runner that leaves the model as it is."""
    from dataclasses import replace

    from engine.generation.runner import CpuRunner

    return CpuRunner(replace(loaded, model=copy.deepcopy(loaded.model)), cache_bytes, 2**20)


@pytest.fixture(scope="session")
def loaded_once(model_directory):
    """The small model and its runner."""
    import torch

    from engine.generation.model import load_model

    loaded = load_model(str(model_directory), torch.device("cpu"), "float32")
    return loaded, runner_of(loaded)


@pytest.fixture
def loaded_model(loaded_once, share_runner):
    """The small model on the CPU."""
    share_runner(*loaded_once)
    return loaded_once[0]


@pytest.fixture
async def generator(loaded_model):
    """The small model behind our own generation loop."""
    from engine.generation.local import LocalGenerator

    made = LocalGenerator(loaded_model)
    yield made
    await made.close()


class Reader:
    """Keeps what a batcher writes for one request."""

    def __init__(self):
        self.ids, self.finish_reason, self.usage, self.error = [], None, None, None

    def write(self, token_id, score):
        self.ids.append(token_id)
        return False

    def end(self, reason, usage):
        assert not self.is_done
        self.finish_reason, self.usage = reason, usage

    def fail(self, error):
        assert not self.is_done
        self.error = error

    @property
    def is_done(self):
        return self.finish_reason is not None or self.error is not None


class TinyModel:
    """A random model of some thousand weights, what transformers makes of it, and batchers around it.

    Weights this large make the next token depend on every earlier one and on its position: a mistake in
    cache, mask or positions changes the text.
    """

    CONTEXT, MOST_NEW = 256, 40

    def __init__(self, name, tokenizer, **changes):
        import torch

        torch.manual_seed(1)
        self.name, self.tokenizer, self.vocabulary = name, tokenizer, len(tokenizer)
        self.model = self._build(name, changes).eval()
        self._continuations = {}

    def _build(self, name, changes):
        import transformers

        nothing = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
        common = {"vocab_size": self.vocabulary, "initializer_range": 0.6, **nothing}
        if name == "gpt2":
            sizes = {"n_positions": self.CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 4}
            config = transformers.GPT2Config(**common | sizes | changes)
            return transformers.GPT2LMHeadModel(config)
        family = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "gemma": "Gemma"}.get(name, "Mistral")
        sizes = {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": self.CONTEXT,
            "tie_word_embeddings": False,
        }
        more = {
            "qwen3": {"head_dim": 16},
            "gemma": {"head_dim": 16, "num_key_value_heads": 1},
            "mistral": {"sliding_window": None},
            "mistral-window": {"sliding_window": 50},
        }.get(name, {})
        config = getattr(transformers, f"{family}Config")(**common | sizes | more | changes)
        return getattr(transformers, f"{family}ForCausalLM")(config)

    def loaded(self, precision="float32"):
        """As `load_model` gives it, the weights a copy."""
        import torch

        from engine.generation.model import LoadedModel

        model = copy.deepcopy(self.model)
        return LoadedModel(
            name=self.name,
            model=model.bfloat16() if precision == "bfloat16" else model,
            tokenizer=self.tokenizer,
            context_length=self.CONTEXT,
            device=torch.device("cpu"),
            eos_ids=frozenset(),
            precision=precision,
        )

    @functools.cached_property
    def runner(self):
        """In float32."""
        return runner_of(self.loaded())

    def batcher(self, runner=None, *, num_blocks=None, reuse=True, **options):
        """A batcher that the test steps; with fewer blocks than the runner's cache has, if said."""
        import torch

        from engine.generation.batcher import Batcher
        from engine.generation.blocks import BlockPool
        from engine.generation.sampler import Sampler
        from engine.generation.scheduler import Scheduler

        runner = runner or self.runner
        limits = {"max_running": 16, "max_waiting": 2000, "token_budget": 512, "context_length": self.CONTEXT}
        pool = BlockPool(num_blocks or runner.cache.num_blocks, runner.cache.block_size, reuse=reuse)
        scheduler = Scheduler(pool, **limits | options, can_slide=runner.can_slide)
        made = Batcher(runner, scheduler, Sampler(torch.device("cpu"), self.vocabulary))
        made.pool = pool
        return made

    @staticmethod
    def ask(batcher, prompt, most=MOST_NEW, sampling=None, **more):
        """Queue a request, greedy if not said otherwise: its sequence and reader."""
        from engine.generation.sequence import Sequence
        from engine.types import Sampling

        sequence = Sequence(list(prompt), sampling or Sampling(), most, **more)
        reader = Reader()
        batcher.add(sequence, reader)
        return sequence, reader

    def answers(self, batcher, *prompts, **more):
        """What each prompt gets when all are asked at once."""
        asked = [self.ask(batcher, prompt, **more) for prompt in prompts]
        while batcher.has_work:
            batcher.step()
        return [reader.ids for _, reader in asked]

    def continuation(self, prompt):
        """What transformers' `generate` writes, up to where the two best logits are as good as equal."""
        import torch

        key = tuple(prompt)
        if key not in self._continuations:
            ids = torch.tensor([prompt])
            made = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=min(self.MOST_NEW, self.CONTEXT - len(prompt)),
                output_logits=True,
                return_dict_in_generate=True,
            )
            best = torch.cat(made.logits).topk(2).values
            is_clear = (best[:, 0] - best[:, 1]) >= 1e-4
            clear = int(is_clear.long().cumprod(0).sum())
            self._continuations[key] = made.sequences[0, len(prompt) :].tolist()[:clear]
        return self._continuations[key]


@pytest.fixture(scope="session")
def tiny_models(model_directory):
    """Tiny models by name, each made once. With changes to its configuration: a new one each time."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_directory)
    made = functools.cache(lambda name: TinyModel(name, tokenizer))

    def find(name, **changes):
        return TinyModel(name, tokenizer, **changes) if changes else made(name)

    return find


@pytest.fixture(
    scope="session", params=["gpt2", "llama", "qwen2", "qwen3", "mistral", "mistral-window", "gemma"]
)
def tiny(request, tiny_models):
    """One after the other of every architecture, and Mistral with a window shorter than the texts."""
    return tiny_models(request.param)


@pytest.fixture(scope="session")
def embedder():
    """all-MiniLM-L6-v2 from the installed package."""
    import torch

    from engine.search.embedder import load_embedder

    found = load_embedder(None, torch.device("cpu"))
    assert found is not None
    return found


@pytest.fixture(scope="session")
def starter_once():
    """The starter model, loaded once for all tests, and its runner."""
    import torch

    from engine.generation.model import load_model

    loaded = load_model(None, torch.device("cpu"))
    return loaded, runner_of(loaded, 2**26)


@pytest.fixture
def starter(starter_once, share_runner):
    """The starter model. It can be run again and again, by one generator at a time."""
    share_runner(*starter_once)
    return starter_once[0]


@pytest.fixture(scope="session")
def sample_vectors():
    """Vectors of the sample pages by content, filled by the first test that embeds them."""
    return {}


@pytest.fixture
async def sample_knowledge(store, embedder, sample_vectors):
    """The sample pages, learned and indexed."""
    from engine.library.lesson import SAMPLE_PAGES
    from engine.search.knowledge import KnowledgeBase
    from engine.search.vectors import VECTORS_KEY

    knowledge = KnowledgeBase(store.redis, embedder)
    await knowledge.library.learn([SAMPLE_PAGES])
    if sample_vectors:
        await store.redis.hset(VECTORS_KEY, mapping=sample_vectors)
    await knowledge.refresh()
    sample_vectors.update(await store.redis.hgetall(VECTORS_KEY))
    return knowledge


@pytest.fixture
async def sample_service(settings, sample_knowledge, starter):
    """The engine as a newcomer has it: starter model, sample pages, MiniLM."""
    from engine.evaluation.calibration_store import DEFAULT_THRESHOLD
    from engine.generation.local import LocalGenerator
    from engine.service import EngineService

    service = EngineService(
        LocalGenerator(starter),
        sample_knowledge,
        persona=settings.persona,
        hand_over_below=DEFAULT_THRESHOLD,
        max_answer_tokens=settings.max_answer_tokens,
    )
    yield service
    await service.generator.close()


@pytest.fixture(scope="session")
def frontdesk_up(tmp_path_factory):
    """`frontdesk up` as a newcomer runs it, without any token, on free ports."""
    with FrontdeskUp(tmp_path_factory.mktemp("up")) as running:
        running.wait_until_ready()
        yield running
