"""The calibrated threshold in Redis, where every engine reads it. Knows not how it was fitted."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.log import logger
from engine.search.confidence import HAND_OVER_BELOW

CALIBRATION_KEY = "frontdesk:knowledge:calibration"
DEFAULT_THRESHOLD = HAND_OVER_BELOW
"""Confidence under which the bot hands over as long as nothing was calibrated or set."""
# How long a threshold is believed before Redis is asked again: a new one counts within a second.
_BELIEVED_SECONDS = 0.5

log = logger("engine.evaluation.calibration")


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted threshold, and what it was fitted on."""

    threshold: float
    precision_asked: float
    precision: float
    """Measured on the withheld entries: the share of what is answered that is right."""
    interval: tuple[float, float]
    """Of the precision, 95 %."""
    share: float
    """Of the questions that the knowledge base can answer, the share answered rightly."""
    refused: float
    """Of the questions that it cannot answer, the share not answered."""
    unknown: float
    """Assumed share of such questions among all."""
    entries: int
    version: int
    """Of the knowledge base."""
    embedder: str
    """Empty where words alone decide."""
    date: str
    """ISO 8601, UTC."""

    @classmethod
    def from_json(cls, text: str | bytes) -> Calibration:
        fields = json.loads(text)
        return cls(**{**fields, "interval": tuple(fields["interval"])})


class CalibrationStore:
    """Writes the calibration, and tells the threshold that counts now."""

    def __init__(self, redis: Redis, embedder: str = "") -> None:
        self._redis: Any = redis
        self._embedder = embedder
        self._threshold = DEFAULT_THRESHOLD
        self._believed_until = 0.0
        self._is_warned = False

    async def save(self, calibration: Calibration) -> None:
        """Let every engine use it within a second."""
        await self._redis.set(CALIBRATION_KEY, json.dumps(asdict(calibration), ensure_ascii=False))
        self._believed_until = 0.0

    async def load(self) -> Calibration | None:
        """The calibration as stored, whether or not it fits the embedder of today; None without one."""
        stored = await self._redis.get(CALIBRATION_KEY)
        try:
            return None if stored is None else Calibration.from_json(stored)
        except (ValueError, KeyError, TypeError):  # another version's
            return None

    async def threshold(self, setting: float | None = None) -> float:
        """The confidence under which a question is handed over.

        A setting wins over the calibration, and the calibration over the default. One fitted with another
        embedder does not count: its confidences mean something else. While Redis is away the last one stays.
        """
        if setting is not None:
            return setting
        if time.monotonic() >= self._believed_until:
            try:
                self._threshold = self._checked(await self.load())
            except RedisError as error:
                log.warning("the calibrated threshold cannot be read; the last one stays", reason=str(error))
            self._believed_until = time.monotonic() + _BELIEVED_SECONDS
        return self._threshold

    def _checked(self, calibration: Calibration | None) -> float:
        if calibration is None:
            return DEFAULT_THRESHOLD
        if calibration.embedder == self._embedder:
            self._is_warned = False
            return calibration.threshold
        if not self._is_warned:
            self._is_warned = True
            log.warning(
                "the threshold was calibrated with another embedder: run `frontdesk calibrate` again",
                calibrated_with=calibration.embedder or "words alone",
                now=self._embedder or "words alone",
            )
        return DEFAULT_THRESHOLD
