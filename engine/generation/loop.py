"""The generation thread: takes waiting sequences in, steps the batch, hands out tokens."""

from __future__ import annotations

import threading
from collections import deque

import torch

from engine.errors import EngineError, Unavailable
from engine.generation.batch import Batch
from engine.generation.model import LoadedModel
from engine.generation.sampler import forbid, penalise, sample
from engine.generation.sequence import Sequence, SequenceStatus
from engine.log import logger

log = logger("engine.generation")


class GenerationLoop:
    """One thread that owns the model. `submit` from any thread; results go to the sequence's queue."""

    def __init__(self, loaded: LoadedModel, *, max_batch: int, max_waiting: int) -> None:
        self._batch = Batch(loaded)
        self._loaded, self._max_batch, self._max_waiting = loaded, max_batch, max_waiting
        self._waiting: deque[Sequence] = deque()
        self._wake = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return len(self._batch.sequences)

    @property
    def waiting(self) -> int:
        """Sequences not yet in the batch."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether the thread takes sequences."""
        return self._thread.is_alive() and not self._is_closing

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence. Raises `Unavailable` when the queue is full or closed."""
        with self._wake:
            if not self.is_alive:
                raise Unavailable("The engine is stopping.")
            if len(self._waiting) >= self._max_waiting:
                raise Unavailable("Too many answers are waiting. Try again in a moment.", retry_after=5)
            self._waiting.append(sequence)
            self._wake.notify()

    def close(self) -> None:
        """Stop the thread; what is running fails with `Unavailable`."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(timeout=30)

    @torch.inference_mode()
    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._admit()
                self._batch.drop({s for s in self._batch.sequences if s.is_abandoned})
                if self._batch.sequences:
                    self._step()
        except Exception:
            log.exception("the generation thread died; /ready says no: start the engine again")
        finally:  # also when the thread dies of a fault: nobody may wait for ever
            with self._wake:
                self._is_closing = True
                left = [*self._batch.sequences, *self._waiting]
            for sequence in left:
                sequence.fail(Unavailable("The engine is stopping."))

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._waiting or self._batch.sequences or self._is_closing):
                self._wake.wait()
            return not self._is_closing

    def _admit(self) -> None:
        """Prefill one waiting sequence a step, so that running ones keep their pace."""
        with self._wake:
            while self._waiting and self._waiting[0].is_abandoned:
                self._waiting.popleft()
            if not self._waiting or len(self._batch.sequences) >= self._max_batch:
                return
            sequence = self._waiting.popleft()
        sequence.status = SequenceStatus.RUNNING
        try:
            logits = self._batch.prefill(sequence)
            sequence.append(self._sample(sequence, logits))
        except Exception as error:  # whatever torch raises fails this request and no other
            log.exception("prefill failed; this request is answered with an error")
            sequence.fail(_as_engine_error(error))
        self._drop_finished()

    def _step(self) -> None:
        try:
            logits = self._batch.step()
            for row, sequence in enumerate(self._batch.sequences):
                sequence.append(self._sample(sequence, logits[row]))
        except Exception as error:  # the cache is in an unknown state: no row can go on
            log.exception("a generation step failed; every running request is answered with an error")
            for sequence in self._batch.sequences:
                sequence.fail(_as_engine_error(error))
            self._batch.clear()
        self._drop_finished()

    def _drop_finished(self) -> None:
        self._batch.drop({s for s in self._batch.sequences if s.status is SequenceStatus.FINISHED})

    def _sample(self, sequence: Sequence, logits: torch.Tensor) -> int:
        if sequence.random is None and sequence.sampling.seed is not None:
            sequence.random = torch.Generator(self._loaded.device).manual_seed(sequence.sampling.seed)
        if sequence.sampling.repetition_penalty != 1.0:
            seen = [*sequence.prompt_ids, *sequence.token_ids]
            logits = penalise(logits, seen, sequence.sampling.repetition_penalty)
        if sequence.eos_ids and len(sequence.token_ids) < sequence.sampling.min_tokens:
            logits = forbid(logits, list(sequence.eos_ids))
        return sample(logits, sequence.sampling, sequence.random)


def _as_engine_error(error: Exception) -> EngineError:
    if isinstance(error, torch.OutOfMemoryError):
        return Unavailable("Not enough memory for this request at the moment.")
    return error if isinstance(error, EngineError) else Unavailable("The model failed on this request.")
