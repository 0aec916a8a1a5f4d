"""Builds the engine service from settings: the one place of the engine that chooses implementations."""

from __future__ import annotations

from redis.asyncio import Redis

from engine.errors import BadRequest
from engine.evaluation.calibration_store import CalibrationStore
from engine.generation import Generator
from engine.generation.local import BatchLimits, LocalGenerator
from engine.generation.model import choose_device, load_model
from engine.generation.remote import RemoteGenerator, discover
from engine.search.embedder import load_embedder
from engine.search.knowledge import KnowledgeBase
from engine.service import EngineService
from engine.settings import EngineSettings


async def build_generator(settings: EngineSettings) -> Generator:
    """The generator that the settings name, loaded."""
    if settings.generator == "local":
        loaded = load_model(settings.model, choose_device(settings.device), settings.precision)
        return LocalGenerator(loaded, batch_limits(settings))
    if settings.remote_url is None:
        raise BadRequest("generator is 'remote': set FRONTDESK_REMOTE_URL, for example http://gpu:8000/v1")
    key = settings.remote_key.get_secret_value() if settings.remote_key else None
    model, context = settings.remote_model, None
    if model is None:
        model, context = await discover(settings.remote_url, key)
    return RemoteGenerator(
        settings.remote_url, model=model, key=key, context_length=context or settings.remote_context
    )


def batch_limits(settings: EngineSettings) -> BatchLimits:
    """What the settings say about batches and cache."""
    return BatchLimits(
        max_running=settings.max_batch,
        max_waiting=settings.max_waiting,
        # New prompts must be read however many answers are running.
        token_budget=max(settings.token_budget, 2 * settings.max_batch),
        cache_bytes=settings.cache_mb * 2**20 if settings.cache_mb else None,
    )


async def build_service(settings: EngineSettings, redis: Redis) -> EngineService:
    """The whole engine, its index built. Raises `ModelUnusable` and redis' errors."""
    knowledge = KnowledgeBase(redis, load_embedder(settings.embedder, choose_device(settings.device)))
    await knowledge.refresh()
    return EngineService(
        await build_generator(settings),
        knowledge,
        persona=settings.persona,
        hand_over_below=settings.hand_over_below,
        max_answer_tokens=settings.max_answer_tokens,
        calibration=CalibrationStore(redis, knowledge.embedder.name if knowledge.embedder else ""),
    )
