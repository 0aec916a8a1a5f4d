"""A contestant's process: `python -m engine.bench.child NAME`, JSON lines in and out.

    {"do": "load", "directory", "device", "workload"}   {"ok": {"idle_bytes"}}
    {"do": "generate", "prompts", "new_tokens"}         {"ok": a run}
    {"do": "memory"}                                    {"ok": {"peak_bytes", "gpu_peak_bytes"}}

A request that cannot be done is answered by {"error": the reason}. The end of the input ends it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from engine.bench import memory, roster
from engine.bench.contestant import CannotRun, Contestant, Workload
from engine.errors import EngineError


def main() -> None:
    """Serve one contestant until the input ends."""
    answers = _private_output()
    contestant = roster.make(sys.argv[1])
    acts: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "load": lambda request: _load(contestant, request),
        "generate": lambda request: contestant.generate(request["prompts"], request["new_tokens"]).to_json(),
        "memory": lambda _: {"peak_bytes": memory.peak(), "gpu_peak_bytes": memory.gpu_peak()},
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: dict[str, Any] = {"ok": acts[request["do"]](request)}
        except Exception as error:  # whatever a peer raises becomes the reason in its row
            answer = {"error": _reason(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    # Peers' threads may refuse to end; the weights go with the process.
    os._exit(0)


def _load(contestant: Contestant, request: Mapping[str, Any]) -> dict[str, Any]:
    idle = memory.resident()
    workload = Workload(**request["workload"])
    contestant.load(Path(request["directory"]), request["device"], workload)
    memory.forget_peak()
    return {"idle_bytes": idle, "is_serial": contestant.is_serial}


def _reason(error: Exception) -> str:
    """One line; the errors that say nothing by themselves are named."""
    first = str(error).strip().partition("\n")[0]
    return (
        first if first and isinstance(error, CannotRun | EngineError) else f"{type(error).__name__}: {first}"
    )


def _private_output() -> TextIO:
    """Standard output for answers alone: what libraries print goes to standard error."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output


if __name__ == "__main__":
    main()
