"""Continuous batching, a step at a time: schedule, run, sample, write. Knows no threads."""

from __future__ import annotations

import torch

from engine.errors import EngineError, Unavailable
from engine.generation import TokenScore
from engine.generation.blocks import BlockPool
from engine.generation.plan import Plan
from engine.generation.runner import Runner
from engine.generation.sampler import Sampler
from engine.generation.scheduler import Scheduler
from engine.generation.sequence import Sequence
from engine.generation.writer import Writer
from engine.log import logger
from engine.types import Usage

log = logger("engine.generation")


class DeviceBroken(Exception):
    """An error of the device that sticks: every later call fails too, until the process is started again."""


class Batcher:
    """Sequences with their writers. `add` from any thread, everything else from one."""

    def __init__(self, runner: Runner, scheduler: Scheduler, sampler: Sampler) -> None:
        self.scheduler = scheduler
        self._runner, self._sampler = runner, sampler
        self._writers: dict[Sequence, Writer] = {}

    @property
    def has_work(self) -> bool:
        """Whether somebody waits for tokens."""
        return bool(self._writers)

    def add(self, sequence: Sequence, writer: Writer) -> None:
        """Queue a sequence. Raises `Overloaded` when the queue is full, `ContextTooLong`."""
        self._writers[sequence] = writer
        try:
            self.scheduler.add(sequence)
        except BaseException:  # whatever it is, nobody waits for this sequence
            del self._writers[sequence]
            raise

    @torch.inference_mode()
    def step(self) -> None:
        """Compute what the scheduler plans, and give the new tokens to their writers.

        Raises `DeviceBroken`. Any other fault fails the requests that it concerns.
        """
        plan = self.scheduler.schedule()
        for sequence in self.scheduler.take_finished():
            if sequence.finish_reason is None:
                self._fail(sequence, Unavailable("The answer took too long."))
            else:
                self._end(sequence)
        if plan.is_empty:
            return
        try:
            sequences, logits = self._runner.run(plan)
            sampled = self._sampler.sample(logits, sequences) if sequences else None
        except Exception as error:  # whatever torch raises must not end the other conversations
            self._recover(plan, error)
            return
        self.scheduler.advance(plan)
        if sampled is None:
            return
        for row, sequence in enumerate(sequences):
            if sampled.is_broken[row]:
                log.error("the model's result is not a number; this request is answered with an error")
                self.scheduler.finish(sequence)
                self.scheduler.pool.forget()  # what it left in the cache is no number either
                self._fail(sequence, Unavailable("The model failed on this request."))
            else:
                self._take(sequence, sampled.token_ids[row], sampled.scores[row])

    def fail_all(self, error: EngineError) -> None:
        """Break off whatever runs or waits."""
        for sequence in self.scheduler.fail_all():
            self._fail(sequence, error)

    def _take(self, sequence: Sequence, token_id: int, score: TokenScore | None) -> None:
        """Give a sampled token to its sequence and reader."""
        before = len(sequence.token_ids)
        sequence.append(token_id)
        try:
            is_complete = len(sequence.token_ids) > before and self._writers[sequence].write(token_id, score)
        except Exception:  # a fault in one reader's text is no reason to stop the others
            log.exception("a token could not be written; this request is answered with an error")
            self.scheduler.finish(sequence)
            self._fail(sequence, Unavailable("The answer could not be written."))
            return
        if is_complete:
            sequence.finish_reason = "stop"
        if sequence.finish_reason is not None:
            self.scheduler.finish(sequence)
            self._end(sequence)

    def _end(self, sequence: Sequence) -> None:
        assert sequence.finish_reason is not None
        usage = Usage(sequence.num_prompt, sequence.num_generated)
        self._writers.pop(sequence).end(sequence.finish_reason, usage)

    def _fail(self, sequence: Sequence, error: EngineError) -> None:
        self._writers.pop(sequence).fail(error)

    def _recover(self, plan: Plan, error: Exception) -> None:
        """After a step that broke: none of it counts as computed, so it is planned anew without whoever was
        to blame."""
        if _is_out_of_memory(error):
            log.error("out of memory: the largest request of this step gets an error, the others go on")
            largest = max(plan.chunks, key=lambda chunk: chunk.count)
            # Whose sinks were to be moved and were not holds blocks that no longer fit together.
            for sequence in {largest.sequence, *(shift.sequence for shift in plan.shifts)}:
                self.scheduler.finish(sequence)
                self._fail(sequence, Unavailable("Not enough memory for this request at the moment."))
            return
        if isinstance(error, torch.AcceleratorError):
            raise DeviceBroken(str(error).splitlines()[0]) from error
        log.error("a step failed; every running request is answered with an error", exc_info=error)
        for sequence in self.scheduler.clear():
            self._fail(sequence, Unavailable("The model failed on this request."))


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator has no class of its own for it.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def make_batcher(
    runner: Runner,
    *,
    context_length: int,
    vocab_size: int,
    device: torch.device,
    max_running: int,
    max_waiting: int,
    token_budget: int,
    reuse: bool = True,
) -> Batcher:
    """A batcher with scheduler, blocks and sampler of its own around the runner."""
    pool = BlockPool(runner.cache.num_blocks, runner.cache.block_size, reuse=reuse)
    scheduler = Scheduler(
        pool,
        max_running=max_running,
        max_waiting=max_waiting,
        token_budget=token_budget,
        context_length=context_length,
        can_slide=runner.can_slide,
    )
    return Batcher(runner, scheduler, Sampler(device, vocab_size))
