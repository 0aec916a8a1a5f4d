"""What was worked out lately, up to a number of bytes; what was not asked for the longest goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray


class Remembered:
    """Arrays by text. Safe for many threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, 0
        self._arrays: OrderedDict[str, NDArray[np.float16]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> NDArray[np.float16] | None:
        """The array, if it is still there."""
        with self._lock:
            if text in self._arrays:
                self._arrays.move_to_end(text)
            return self._arrays.get(text)

    def put(self, text: str, array: NDArray[np.float16]) -> None:
        """Remember it, and forget the oldest where there is no more room."""
        with self._lock:
            if text in self._arrays:
                return
            self._arrays[text] = array
            self._held += array.nbytes
            while self._held > self._most:
                _, oldest = self._arrays.popitem(last=False)
                self._held -= oldest.nbytes
