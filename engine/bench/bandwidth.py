"""How fast memory can be read: the limit of decoding, which reads all weights for each step.

The best of several ways that each read a buffer far larger than the caches once, on all cores. On a GPU a
copy within its memory, read and written bytes together. `python -m engine.bench.bandwidth DEVICE` prints
`{"ok": {way: bytes a second}}`, so that its buffers burden nobody else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

_BYTES = 768 * 2**20
_WIDTH = 8192
_REPEATS = 20


def read_bandwidth(device: str, size: int = _BYTES) -> dict[str, float]:
    """Bytes a second for each way of reading `size` bytes."""
    return _copy(size) if device == "cuda" else _reads(size)


def _reads(size: int) -> dict[str, float]:
    wide = torch.ones(size // 4 // _WIDTH, _WIDTH)  # [rows, _WIDTH] float32
    vector, flat = torch.ones(_WIDTH), wide.view(-1)
    found = {
        "sum float32": _best(size, flat.sum),
        "dot float32": _best(size, lambda: torch.dot(flat, flat)),
        "matrix-vector float32": _best(size, lambda: wide @ vector),
    }
    half, half_vector = wide.view(torch.bfloat16), torch.ones(2 * _WIDTH, dtype=torch.bfloat16)
    found["matrix-vector bfloat16"] = _best(size, lambda: half @ half_vector)
    return found


def _copy(size: int) -> dict[str, float]:
    source = torch.ones(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    return {"copy": _best(2 * size, copy)}


def _best(size: int, read: Callable[[], object]) -> float:
    """Bytes a second of the fastest repeat: the limit is what the machine can do when it is let."""
    fastest = float("inf")
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        read()
        fastest = min(fastest, time.perf_counter() - begun)
    return size / fastest


if __name__ == "__main__":
    print(json.dumps({"ok": read_bandwidth(sys.argv[1])}))
