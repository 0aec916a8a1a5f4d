"""Processes of the benchmark, seen from the parent: one JSON line there, one back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from engine.bench.contestant import CannotRun, Workload
from engine.bench.run import Run

# Nothing may reach for the network, and peers' remarks belong into no table.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
# libgomp's own figure, which `engine` changes for our generation.
_AS_PEERS_COME = {"GOMP_SPINCOUNT": "300000"}
_END_SECONDS = 20


class Process:
    """`python -m MODULE ARGUMENTS`, which ends when its input does, also when we are killed."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="frontdesk-bench-")
        self._errors = Path(self._folder.name, "errors")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **_ENVIRONMENT, **(environment or {})},
            )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises `CannotRun` with the child's reason."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise CannotRun(self._last_words()) from None
        return self.read()

    def read(self) -> dict[str, Any]:
        """The next line. Raises `CannotRun` when it is an error or there is none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise CannotRun(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise CannotRun(answer["error"])
        found: dict[str, Any] = answer["ok"]
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(_END_SECONDS)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        lines = [line for line in self._errors.read_text(errors="replace").splitlines() if line.strip()]
        return f"its process ended with {code}: {lines[-1] if lines else 'it said nothing'}"


class ContestantProcess:
    """A contestant that works in a process of its own. Raises `CannotRun` whenever it cannot."""

    def __init__(self, name: str, directory: Path, device: str, workload: Workload) -> None:
        self.name = name
        environment = {} if name.startswith("ours") else _AS_PEERS_COME
        self._process = Process("engine.bench.child", name, environment=environment)
        request = {"do": "load", "directory": str(directory), "device": device, "workload": asdict(workload)}
        try:
            told = self._process.ask(request)
        except CannotRun:
            self._process.close()
            raise
        self.idle_bytes: int = told["idle_bytes"]
        """Memory before the model was loaded."""
        self.is_serial: bool = told["is_serial"]

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Run:
        """Continue every prompt. Raises `CannotRun` also when the work done is not what was asked for."""
        told = self._process.ask({"do": "generate", "prompts": prompts, "new_tokens": new_tokens})
        run = Run(**told)
        if any(len(ids) != new_tokens for ids in run.token_ids) or len(run.token_ids) != len(prompts):
            raise CannotRun(f"it generated {run.tokens} tokens, not {len(prompts)} × {new_tokens}")
        return run

    def memory(self) -> dict[str, int | None]:
        """`peak_bytes` since the model was loaded; `gpu_peak_bytes` where torch knows."""
        return self._process.ask({"do": "memory"})

    def close(self) -> None:
        """End the process."""
        self._process.close()
