"""The raw record of a run under faults: JSON lines on one clock, appended by every process of it."""

import json
import os
import time
from pathlib import Path


class Record:
    """Appends lines; whole lines only, however many processes write and whenever one of them is killed."""

    def __init__(self, path):
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind, **fields):
        """`t` is the machine's monotonic clock in seconds, the same in all processes."""
        line = json.dumps({"t": round(time.monotonic(), 6), "kind": kind, **fields}, ensure_ascii=False)
        os.write(self._file, f"{line}\n".encode())

    def close(self):
        os.close(self._file)


def read(path):
    """Every line, oldest first."""
    with Path(path).open(encoding="utf-8") as file:
        return sorted(map(json.loads, file), key=lambda line: line["t"])
