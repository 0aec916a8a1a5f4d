"""Who computes on how many cores.

torch gives each thread that computes an OpenMP team of its own. While there are no more such threads than
cores, a team waits for its next operator awake; as soon as there is one more, all of them go to sleep after
each operator and have to be woken up (libgomp's throttled spinning), which was measured to halve the speed
of generation. So the generation thread has all cores, every other thread computes alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch

_T = TypeVar("_T")

CORES = torch.get_num_threads()
"""What torch would use: the machine's cores, or `OMP_NUM_THREADS`."""

_local = threading.local()


def use_one_core() -> None:
    """The calling thread computes alone from now on."""
    if getattr(_local, "cores", None) != 1:
        _local.cores = 1
        torch.set_num_threads(1)


def use_all_cores() -> None:
    """The calling thread computes with all cores from now on: for the one thread that generates."""
    if getattr(_local, "cores", None) != CORES:
        _local.cores = CORES
        torch.set_num_threads(CORES)


def aside(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call the function on all cores, in a thread of its own: its team ends with it."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def call() -> None:
        use_all_cores()
        try:
            results.append(function(*arguments))
        except BaseException as error:  # handed on below, whatever it is
            errors.append(error)

    thread = threading.Thread(target=call, name="aside", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
