"""CTranslate2, where it is installed: a static batch on its own kernels."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from engine.bench.contestant import CannotRun, Workload
from engine.bench.machine import cores
from engine.bench.run import Run

_CONVERT = (
    "import sys; from ctranslate2.converters import TransformersConverter as Converter; "
    "Converter(sys.argv[1]).convert(sys.argv[2])"
)


class CTranslate2:
    """`ctranslate2.Generator` with one worker on all cores."""

    is_serial = False

    def __init__(self, precision: str) -> None:
        self._precision = precision

    def load(self, directory: Path, device: str, workload: Workload) -> None:
        """Convert the model once for all precisions, and read it."""
        if importlib.util.find_spec("ctranslate2") is None:
            raise CannotRun("ctranslate2 is not installed: pip install 'frontdesk[bench]'")
        ctranslate2: Any = importlib.import_module("ctranslate2")
        if self._precision not in (known := ctranslate2.get_supported_compute_types(device)):
            raise CannotRun(f"ctranslate2 has no {self._precision} here, only {', '.join(sorted(known))}")
        converted = _convert(directory)
        self._tokens: list[str] = json.loads((converted / "vocabulary.json").read_text(encoding="utf-8"))
        self._generator: Any = ctranslate2.Generator(
            str(converted),
            device=device,
            compute_type=self._precision,
            inter_threads=1,
            intra_threads=cores(),
        )

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Run:
        """One call; its callback tells when each token came."""
        moments: list[list[float]] = [[] for _ in prompts]

        def note(step: Any) -> bool:
            moments[step.batch_id].append(time.perf_counter())
            return False

        begun = time.perf_counter()
        found = self._generator.generate_batch(
            [[self._tokens[token_id] for token_id in prompt] for prompt in prompts],
            max_length=new_tokens,
            min_length=new_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=note,
        )
        seconds = time.perf_counter() - begun
        times = [[moment - begun for moment in each] for each in moments]
        return Run.together(seconds, times, [list(result.sequences_ids[0]) for result in found])

    def close(self) -> None:
        """Let go of the weights."""
        del self._generator


def _convert(directory: Path) -> Path:
    """The converted model beside the original. In another process: its memory is not the contestant's."""
    converted = directory / "ctranslate2"
    if not converted.is_dir():
        finished = subprocess.run(
            [sys.executable, "-c", _CONVERT, str(directory), str(converted)],
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            lines = finished.stderr.strip().splitlines()
            raise CannotRun(f"ctranslate2 cannot convert this model: {lines[-1] if lines else 'no reason'}")
    return converted
