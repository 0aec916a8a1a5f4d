"""One figure of the report. A leaf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A measured value, or the reason why there is none."""

    metric: str
    value: float | None
    unit: str
    part: str = ""
    """`engine`, `conversation`, `http` or `machine`."""
    model: str = ""
    contestant: str = ""
    concurrency: int | None = None
    values: tuple[float, ...] = ()
    """Of the single repeats; `value` is their median."""
    reason: str = ""
    extras: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Unique in a report: `gpt2/8/ours-bfloat16/throughput`."""
        concurrency = "" if self.concurrency is None else str(self.concurrency)
        part = self.part if self.part in {"conversation", "http"} else ""
        return "/".join(filter(None, (self.model, part, concurrency, self.contestant, self.metric)))

    def to_json(self) -> dict[str, Any]:
        """Name, value and unit first; what is empty is left out."""
        rest = {
            "part": self.part,
            "metric": self.metric,
            "model": self.model,
            "contestant": self.contestant,
            "concurrency": self.concurrency,
            "values": [round(value, 4) for value in self.values],
            "reason": self.reason,
            **dict(self.extras),
        }
        value = None if self.value is None else round(self.value, 4)
        kept = {key: entry for key, entry in rest.items() if entry not in (None, "", [])}
        return {"name": self.name, "value": value, "unit": self.unit, **kept}


def report_json(machine: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """What `--json` prints: one object, `{"machine", "rows"}`."""
    return {"machine": machine, "rows": [row.to_json() for row in rows]}
