"""A process's memory after a model was loaded: what is free goes back, what stays goes into huge pages.

A decode step reads all weights once. With pages of 4 KiB, looking up their addresses costs about as much as
reading them: on a virtual machine huge pages were measured to double the rate of reading from memory.
"""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

_HUGE_PAGE = 2 * 1024 * 1024
# Linux 6.1 and later; <linux/mman.h>.
_MADV_COLLAPSE = 25
# Mappings that are less full than this stay as they are: a huge page takes up all of its memory.
_FULL = 0.9
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(\[heap\]|\[anon.*\])?$")


def tidy() -> None:
    """Give freed memory back to the system, and move large private mappings into huge pages.

    Does what the system lets it: nothing on an older Linux or another system.
    """
    gc.collect()
    try:
        libc = ctypes.CDLL(None)
        libc.malloc_trim(ctypes.c_size_t(0))
        smaps = Path("/proc/self/smaps").read_text().splitlines()
    except (OSError, AttributeError):
        return
    for start, end in _full_mappings(smaps):
        first, last = -(-start // _HUGE_PAGE) * _HUGE_PAGE, end // _HUGE_PAGE * _HUGE_PAGE
        for address in range(first, last, _HUGE_PAGE):
            libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(_HUGE_PAGE), _MADV_COLLAPSE)


def _full_mappings(smaps: list[str]) -> list[tuple[int, int]]:
    """Anonymous mappings of at least a huge page that are all but full, as (start, end)."""
    found = []
    start = end = 0
    for line in smaps:
        if match := _MAPPING.match(line):
            start, end = int(match[1], 16), int(match[2], 16)
        elif line[0] in "0123456789abcdef" and "-" in line.split(" ", 1)[0]:
            start = end = 0
        elif line.startswith("Rss:") and int(line.split()[1]) * 1024 >= max(
            _FULL * (end - start), _HUGE_PAGE
        ):
            found.append((start, end))
    return found
