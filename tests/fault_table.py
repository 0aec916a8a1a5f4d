"""Rows of the fault suite's table, how much of everything there is, and when a run counts as clean."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    check: str
    name: str
    is_passed: bool
    figures: dict = field(default_factory=dict)

    def __str__(self):
        said = ", ".join(f"{name} {value}" for name, value in self.figures.items())
        return f"{'PASS' if self.is_passed else 'FAIL'}  {self.check:<3} {self.name:<34} {said}"


@dataclass(frozen=True)
class Scale:
    """How much of everything: `SHORT` for every run of the tests, `LONG` for the bar."""

    messages: int
    channels: int
    rate: float
    crashes: int
    """At each point."""
    order_messages: int
    pauses: float
    """Seconds."""
    redis_kills: int
    faulty_messages: int
    retry_after: float
    hang_seconds: float
    hung_seconds: float
    flood: int
    noise: float
    """Seconds by which two 95th percentiles differ on a machine that others use."""
    recovery_share: float
    """Of all recoveries that take at most 2 s; in few of them, one that was killed twice counts much."""
    seed: int = 0


SHORT = Scale(240, 30, 40, 2, 160, 6, 3, 40, 1, 1.0, 4, 120, 0.15, 0.5)
LONG = Scale(5000, 200, 50, 20, 1000, 60, 5, 400, 3, 5.0, 10, 1000, 0.01, 0.95)
SLOW = {"before_ms": 20, "after_ms": 20}


def row_of(check, name, verdict, wanted, *, holds=None, **more):
    """A row that passes when all that is wanted was answered once, nothing lost, doubled or disordered."""
    found, holds = verdict.figures(), holds or {}
    clean = ("doubled", "lost", "cut", "dead", "disordered", "altered", "strangers", "repeats_taken")
    figures = {"once": f"{verdict.once}/{verdict.offered}", **{name: found[name] for name in clean}}
    figures |= {"told": found["told"], "kills": sum(found["kills"].values())}
    figures |= {"recovery ms": _shown(found["recovery_ms"]), "answer ms": _shown(found["answer_ms"])}
    figures |= {"backlog": found["backlog_peak"], **more, **holds}
    is_passed = verdict.once == wanted and not any(found[name] for name in clean) and all(holds.values())
    return Row(check, name, is_passed, figures)


def _shown(quantiles):
    """`p50/p95/p99/max`."""
    return "/".join("-" if value is None else str(value) for value in quantiles.values())
