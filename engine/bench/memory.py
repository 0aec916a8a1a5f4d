"""Memory of this process, in bytes, as the kernel counts it."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident() -> int:
    """Memory in use now."""
    return _status("VmRSS")


def peak() -> int:
    """The most that was in use since the start or `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Begin `peak` anew, where the kernel allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def gpu_peak() -> int | None:
    """The most that torch had on the GPU; None where it has none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    found: int = torch.cuda.max_memory_allocated()
    return found


def _status(field: str) -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:  # no Linux: the peak is all there is, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
