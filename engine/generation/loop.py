"""The generation thread: steps the batch while there is work, and tells the readers when it cannot."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from engine.errors import Unavailable
from engine.generation.batcher import Batcher, DeviceBroken, make_batcher
from engine.generation.runner import Runner
from engine.generation.sequence import Sequence
from engine.generation.writer import Post, Writer
from engine.log import logger

log = logger("engine.generation")

# How long readers get to hear of a broken device before the process ends.
_LAST_WORDS_SECONDS = 0.5
EXIT_DEVICE_BROKEN = 70


class GenerationLoop:
    """One thread that owns the model. `submit` from any thread; results go to the sequence's writer."""

    def __init__(self, batcher: Batcher, *, end_process: Callable[[int], object] = os._exit) -> None:
        """Start the thread. `end_process` is called with an exit code when the device is beyond use."""
        self.post = Post()
        self.scheduler = batcher.scheduler
        self._batcher, self._end_process = batcher, end_process
        self._wake = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return self.scheduler.num_running

    @property
    def waiting(self) -> int:
        """Sequences not yet in the batch."""
        return self.scheduler.num_waiting

    @property
    def is_alive(self) -> bool:
        """Whether the thread takes sequences."""
        return self._thread.is_alive() and not self._is_closing

    def submit(self, sequence: Sequence, writer: Writer) -> None:
        """Queue a sequence.

        Raises `Overloaded` when the queue is full, `Unavailable` when closed, `ContextTooLong` for a prompt
        that can never fit.
        """
        with self._wake:
            if not self.is_alive:
                raise Unavailable("The engine is stopping.")
            self._batcher.add(sequence, writer)
            self._wake.notify()

    def close(self) -> None:
        """Stop the thread; what is running fails with `Unavailable`."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._batcher.step()
                self.post.send()
        except DeviceBroken as error:
            self._give_up(error)
        except Exception:
            log.exception("the generation thread died; /ready says no: start the engine again")
        finally:  # also when the thread dies of a fault: nobody may wait for ever
            self._stop("The engine is stopping.")

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._batcher.has_work or self._is_closing):
                self._wake.wait()
            return not self._is_closing

    def _stop(self, reason: str) -> None:
        with self._wake:
            self._is_closing = True
        self._batcher.fail_all(Unavailable(reason))
        self.post.send()

    def _give_up(self, error: DeviceBroken) -> None:
        log.critical(f"the device is beyond use ({error}); this process ends and must be started again")
        self._stop("The engine is starting again. Try again in a moment.")
        time.sleep(_LAST_WORDS_SECONDS)
        self._end_process(EXIT_DEVICE_BROKEN)


def start_loop(runner: Runner, **options: Any) -> GenerationLoop:
    """A running loop around the runner; `options` are `make_batcher`'s."""
    return GenerationLoop(make_batcher(runner, **options))
