"""Decides what each step computes: who runs, which tokens, who waits, who has to make room.

Never touches a tensor and never computes: a plan goes out, and `advance` is told when it is done. All the
rules for sharing the machine are here, so that they can be tested without a model.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from engine.errors import ContextTooLong, Overloaded
from engine.generation.blocks import BlockPool
from engine.generation.fairness import FairQueue
from engine.generation.plan import Chunk, Plan, Shift
from engine.generation.sequence import Sequence, SequenceStatus

# What a generated token counts against a prompt token in `FairQueue`: Sheng et al. take 2, and so do prices.
_GENERATED_WEIGHT = 2
# Part of the window that is dropped at once when it is full: 1/4 makes turning the sinks a rare event.
_SLIDE_PART = 4
# So many finished sequences are looked back on for the rate at which the queue moves.
_RATE_SEQUENCES = 32
_RETRY_UNKNOWN_SECONDS = 5
_RETRY_MOST_SECONDS = 60


class Scheduler:
    """Waiting and running sequences, and the blocks they hold.

    `add` and the `num_…` properties may be used from any thread: `add` leaves sequences in a list under a
    lock, which `schedule` takes over. Everything else belongs to the thread that runs the steps.

    A sequence gets blocks for all its tokens when it is admitted, and later one at a time. When none is
    free, the sequence admitted last makes room: its blocks are released, and it begins again, finding most
    of them in the prefix cache.

    A sequence whose cache fills the context either ends ("length") or, if the model can, slides (Xiao et al.
    2023, StreamingLLM): its first block, the attention sinks, stays, the blocks after it are dropped, and
    the sinks' keys are turned forward by as many positions, so that the kept tokens stand side by side and
    the positions of new ones just run on. What a slid sequence holds can be computed again only by going
    through all its tokens, so it is never preempted while another can be; if it must be, it ends ("length").
    """

    def __init__(
        self,
        pool: BlockPool,
        *,
        max_running: int,
        max_waiting: int,
        token_budget: int,
        context_length: int,
        can_slide: bool = False,
    ) -> None:
        """Make an empty scheduler.

        Parameters:
            pool: the blocks; nobody else may take from it.
            max_running: most sequences in a step.
            max_waiting: most sequences that wait; `add` refuses more.
            token_budget: most tokens a step. Decodes come first; what they leave goes to prompts.
            context_length: most tokens in a sequence's cache.
            can_slide: whether positions may be turned, as rotary ones can. Needs a context of three blocks.
        """
        if max_running < 1 or token_budget < 1:
            raise ValueError("at least one sequence must run, and one token a step")
        self.running: list[Sequence] = []  # in the order of admission
        self.num_preemptions = 0
        self.pool, self._queue = pool, FairQueue()
        self._max_running, self._max_waiting, self._token_budget = max_running, max_waiting, token_budget
        # Tokens that a sequence on its own can have in the cache.
        self._window = min(context_length, pool.num_blocks * pool.block_size)
        self._num_slid_blocks = max(1, self._window // _SLIDE_PART // pool.block_size)
        # Sinks and dropped blocks must be full, and something must be left after them.
        self._can_slide = can_slide and (1 + self._num_slid_blocks) * pool.block_size < self._window
        self._lock = threading.Lock()
        self._inbox: list[Sequence] = []
        self._ended: list[Sequence] = []
        self._end_times: deque[float] = deque(maxlen=_RATE_SEQUENCES)

    @property
    def num_running(self) -> int:
        """Sequences that the steps compute."""
        return len(self.running)

    @property
    def num_waiting(self) -> int:
        """Sequences not yet, or for the moment not, among them."""
        return len(self._inbox) + len(self._queue)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. From any thread.

        Without sliding, its `max_tokens` is cut down to what the cache can hold.

        Raises `ContextTooLong` when prompt and one more token can never fit the cache, `Overloaded` when
        too many are waiting.
        """
        assert sequence.prompt_ids, "there is nothing to begin with"
        room = self._window - sequence.num_prompt
        if room < 1:
            raise ContextTooLong(tokens=sequence.num_prompt, limit=self._window - 1)
        if not self._can_slide:
            sequence.max_tokens = min(sequence.max_tokens, room)
        with self._lock:
            if self.num_waiting >= self._max_waiting:
                raise self._overloaded()
            self._inbox.append(sequence)

    def schedule(self) -> Plan:
        """Decide the next step. Nothing is left to compute when the plan is empty."""
        self._take_inbox()
        self._drop_abandoned()
        plan = Plan()
        for sequence in tuple(self.running):
            # Someone before it in the batch may have preempted it.
            if sequence.status is SequenceStatus.RUNNING and _num_missing(sequence) == 1:
                self._plan_decode(plan, sequence)
        self._plan_prefills(plan)
        plan.chunks.sort(key=lambda chunk: chunk.count > 1)
        return plan

    def advance(self, plan: Plan) -> None:
        """Take note that the plan is computed. To be called before the sampled tokens are appended."""
        for chunk in plan.chunks:
            sequence = chunk.sequence
            if sequence.status is not SequenceStatus.RUNNING:
                continue
            assert sequence.num_computed == chunk.start, "a plan is advanced once"
            sequence.num_computed += chunk.count
            if chunk.is_last:
                self._queue.charge(sequence, _GENERATED_WEIGHT)
            if not sequence.num_dropped:  # else its blocks depend on what was dropped, and when
                self.pool.publish(sequence.tenant, sequence.token_ids, sequence.blocks, sequence.num_computed)

    def finish(self, sequence: Sequence) -> None:
        """Take a running sequence out of the batch. Idempotent."""
        if sequence.status is SequenceStatus.FINISHED:
            return
        assert sequence.status is SequenceStatus.RUNNING
        self._end(sequence)

    def take_finished(self) -> list[Sequence]:
        """Sequences that ended without `finish` since the last call: abandoned ones, and slid ones for which
        no room was left. The latter have a `finish_reason`, the former none."""
        ended, self._ended = self._ended, []
        return ended

    def clear(self) -> list[Sequence]:
        """End whatever runs, and return it. For after a step that broke: no prefix is found any more."""
        gone = list(self.running)
        for sequence in gone:
            self._end(sequence)
        self.pool.forget()
        return gone

    def fail_all(self) -> list[Sequence]:
        """End whatever runs or waits, and return it."""
        self._take_inbox()
        gone = [*self.running, *self._queue.all()]
        for sequence in gone:
            self._end(sequence)
        return gone

    def _overloaded(self) -> Overloaded:
        seconds = _retry_after(self.num_waiting, self._end_times, time.monotonic())
        return Overloaded(f"Too many answers are waiting. Try again in {seconds} s.", retry_after=seconds)

    def _take_inbox(self) -> None:
        with self._lock:
            for sequence in self._inbox:
                self._queue.push(sequence)
            self._inbox = []

    def _drop_abandoned(self) -> None:
        for sequence in [*self.running, *self._queue.all()]:
            if sequence.is_abandoned:
                self._end(sequence)
                self._ended.append(sequence)

    def _plan_decode(self, plan: Plan, sequence: Sequence) -> None:
        if sequence.num_cached == self._window and not self._slide(plan, sequence):
            return
        if sequence.num_cached == len(sequence.blocks) * self.pool.block_size:
            taken = self._take_block(plan, sequence)
            if not taken:
                return
            sequence.blocks += taken
        plan.chunks.append(Chunk(sequence, sequence.num_computed, 1))

    def _plan_prefills(self, plan: Plan) -> None:
        """Share what the decodes left of the budget.

        Whoever has been prefilling for longest gets half of it, so that it gets done whatever comes after
        it; the rest goes to those with the least left to compute, newcomers included, so that a short prompt
        need not wait for a long one. What they leave goes to the first again. Few prompts at a time are
        quicker on average than all at once, and later ones find the prefixes of earlier ones.
        """
        left = self._token_budget - len(plan.chunks)
        prefilling = [sequence for sequence in self.running if _num_missing(sequence) > 1]
        if left < 1 or not (prefilling := prefilling or self._admit()):
            return
        oldest, others = prefilling[0], sorted(prefilling[1:], key=_num_missing)
        shares = {oldest: min(self._num_to_prefill(oldest), left - left // 2)}
        left -= shares[oldest]
        can_admit = True
        while left:
            newcomer = self._queue.first() if can_admit else None
            if newcomer and (not others or _num_missing(newcomer) < _num_missing(others[0])):
                admitted = self._admit()
                can_admit, others = bool(admitted), admitted + others
            if not others:
                break
            sequence = others.pop(0)
            shares[sequence] = min(self._num_to_prefill(sequence), left)
            left -= shares[sequence]
        shares[oldest] = min(self._num_to_prefill(oldest), shares[oldest] + left)
        plan.chunks += [Chunk(sequence, sequence.num_computed, count) for sequence, count in shares.items()]

    def _num_to_prefill(self, sequence: Sequence) -> int:
        # A preempted sequence may have a token more than the window: that one is decoded, after sliding.
        return min(len(sequence.token_ids), self._window) - sequence.num_computed

    def _admit(self) -> list[Sequence]:
        """Move the first of the queue to the running ones, with blocks for all its tokens, if there are."""
        sequence, pool = self._queue.first(), self.pool
        # One block for each running sequence stays free, or the newcomer would soon be preempted.
        num_spare = pool.num_free - len(self.running)
        if sequence is None or len(self.running) >= self._max_running or num_spare < 1:
            return []
        token_ids = sequence.token_ids[: self._window]
        reused = pool.match(sequence.tenant, token_ids)
        num_new = pool.blocks_for(len(token_ids)) - len(reused)
        if num_new + pool.num_idle(reused) > num_spare:
            return []
        is_new = not sequence.num_preemptions
        pool.share(reused, queried=len(token_ids) if is_new else 0)
        new = pool.allocate(num_new)
        assert new is not None
        sequence.blocks = reused + new
        sequence.num_computed = len(reused) * pool.block_size
        self._queue.take(sequence)
        if is_new:  # what is computed a second time was paid for, and is not the conversation's fault
            sequence.num_reused = sequence.num_computed
            self._queue.charge(sequence, sequence.num_prompt - sequence.num_reused)
        sequence.status = SequenceStatus.RUNNING
        self.running.append(sequence)
        return [sequence]

    def _take_block(self, plan: Plan, sequence: Sequence) -> list[int]:
        """One block for the sequence, if need be from another; none when the sequence itself had to go."""
        while (taken := self.pool.allocate(1)) is None:
            victim = next((other for other in reversed(self.running) if not other.num_dropped), None)
            self._preempt(plan, victim or self.running[-1])
            if sequence.status is not SequenceStatus.RUNNING:
                return []
        return taken

    def _preempt(self, plan: Plan, victim: Sequence) -> None:
        plan.remove(victim)
        self.num_preemptions += 1
        if victim.num_dropped:
            victim.finish_reason = "length"
            self._end(victim)
            self._ended.append(victim)
            return
        self._leave_batch(victim)
        victim.status, victim.num_computed = SequenceStatus.WAITING, 0
        victim.num_preemptions += 1
        self._queue.push_back(victim)

    def _slide(self, plan: Plan, sequence: Sequence) -> bool:
        """Drop the blocks after the sinks, and plan to turn these; False when the sequence had to go."""
        dropped = slice(1, 1 + self._num_slid_blocks)
        by = self._num_slid_blocks * self.pool.block_size
        self.pool.release(sequence.blocks[dropped])
        del sequence.blocks[dropped]
        sequence.num_dropped += by
        source = target = sequence.blocks[0]
        if not self.pool.claim(source):
            taken = self._take_block(plan, sequence)
            if not taken:
                return False
            sequence.blocks[0] = target = taken[0]
            self.pool.release([source])
        plan.shifts.append(Shift(sequence, ((source, target),), by))
        return True

    def _end(self, sequence: Sequence) -> None:
        if sequence.status is SequenceStatus.WAITING:
            self._queue.take(sequence)
        else:
            self._leave_batch(sequence)
        sequence.status = SequenceStatus.FINISHED
        self._queue.leave(sequence)
        self._end_times.append(time.monotonic())

    def _leave_batch(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.pool.release(sequence.blocks)
        sequence.blocks = []


def _num_missing(sequence: Sequence) -> int:
    missing = len(sequence.token_ids) - sequence.num_computed
    assert missing > 0, "a sampled token must be appended, or its sequence finished, before the next step"
    return missing


def _retry_after(num_waiting: int, end_times: deque[float], now: float) -> int:
    """Whole seconds until half of those who wait have begun, going by when the last sequences ended."""
    if not end_times:
        return _RETRY_UNKNOWN_SECONDS
    seconds_each = (now - end_times[0]) / len(end_times)
    return round(min(max(seconds_each * num_waiting / 2, 1), _RETRY_MOST_SECONDS))
