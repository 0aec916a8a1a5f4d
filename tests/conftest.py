"""What many tests need: a real Redis, a small real model, a store, and an engine in this process."""

import asyncio
import contextlib
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
# Read when huggingface_hub is imported, which no test has done yet: nothing may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No setting of the machine reaches a test, and no test writes outside its own folder."""
    for name in list(os.environ):
        if name.startswith("FRONTDESK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


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


@pytest.fixture
def loaded_model(model_directory):
    """The small model on the CPU."""
    import torch

    from engine.generation.model import load_model

    return load_model(str(model_directory), torch.device("cpu"))


@pytest.fixture
async def generator(loaded_model):
    """The small model behind our own generation loop."""
    from engine.generation.local import LocalGenerator

    made = LocalGenerator(loaded_model)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def embedder():
    """all-MiniLM-L6-v2 from the installed package."""
    import torch

    from engine.embedder import load_embedder

    found = load_embedder(None, torch.device("cpu"))
    assert found is not None
    return found


@pytest.fixture(scope="session")
def starter():
    """The starter model, loaded once for all tests."""
    import torch

    from engine.generation.model import load_model

    return load_model(None, torch.device("cpu"))


@pytest.fixture(scope="session")
def sample_vectors():
    """Vectors of the sample pages by content, filled by the first test that embeds them."""
    return {}


@pytest.fixture
async def sample_knowledge(store, embedder, sample_vectors):
    """The sample pages, learned and indexed."""
    from engine.knowledge import VECTORS_KEY, KnowledgeBase
    from engine.library import SAMPLE_PAGES

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
    from engine.generation.local import LocalGenerator
    from engine.service import EngineService

    service = EngineService(
        LocalGenerator(starter),
        sample_knowledge,
        persona=settings.persona,
        hand_over_below=settings.hand_over_below,
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
