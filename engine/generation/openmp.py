"""Runs a compiled function on the threads that torch already has.

torch's CPU operators run on one OpenMP team a calling thread. Its threads spin for a moment after each
operator (`engine.cores`), so a second pool beside them would fight for the same cores; a function started
on the same team finds them awake, about 2 µs a call. `GOMP_parallel` is what a compiler emits for
`#pragma omp parallel` (GCC's libgomp manual, "Implementing PARALLEL construct").
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch


def _load(name: str) -> Any:
    """A function of the OpenMP library that torch itself uses, or None where torch uses none."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        # A symbol is looked up in what a library depends on as well, so this finds torch's own copy.
        return getattr(ctypes.CDLL(str(library)), name)
    except (OSError, AttributeError):
        return None


_parallel, _thread_number, _num_threads = map(
    _load, ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
)
if _parallel is not None:
    _parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    _parallel.restype = None


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0 if function is not None else 0


_ASK_TEAM = (_address(_thread_number), _address(_num_threads))

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Kernel:
    """A compiled `void f(int64_t *arguments)`.

    The first two arguments are the addresses of `int omp_get_thread_num(void)` and `int
    omp_get_num_threads(void)`, by which a thread finds its share of the work; zeros when it is alone. A team
    may be smaller than what was asked for, so a kernel must ask.
    """

    def __init__(self, function: Any) -> None:
        self._function = function  # keeps the machine code alive
        self._address: int = function.address
        self._call = _KERNEL(function.address)

    def __call__(self, work: int, *arguments: int) -> None:
        """Run it. `work` in multiply-adds or so: too little to share is done by the caller alone."""
        threads = torch.get_num_threads() if work >= _WORTH_SHARING and _parallel is not None else 1
        team = _ASK_TEAM if threads > 1 else (0, 0)
        values = (ctypes.c_int64 * (len(arguments) + 2))(*team, *arguments)
        if threads == 1:
            self._call(ctypes.addressof(values))
        else:
            _parallel(self._address, ctypes.addressof(values), threads, 0)


# About a microsecond of arithmetic: what starting a team costs.
_WORTH_SHARING = 8192
