"""The calibration curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.evaluation.calibration import Point

_BLUE, _ORANGE, _GREY = "#1f5fa8", "#d9731a", "#666666"


def save_curve(
    path: Path, points: Sequence[Point], chosen: Point | None, precision: float, title: str
) -> None:
    """Write precision and share answered over the threshold as a PNG, the chosen point marked.

    Parameters
      precision: what was asked for
    Raises `OSError` when the file cannot be written.
    """
    import matplotlib.figure  # half a second, for those who want a picture

    # A figure of its own and no pyplot: it draws with Agg whatever screen there is, and is freed by itself.
    figure = matplotlib.figure.Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    thresholds = [point.threshold for point in points]
    axes.fill_between(
        thresholds,
        [point.low for point in points],
        [point.high for point in points],
        color=_BLUE,
        alpha=0.15,
        linewidth=0,
        label="95 % interval",
    )
    axes.plot(thresholds, [point.precision for point in points], color=_BLUE, label="right, of the answered")
    axes.plot(
        thresholds, [point.share for point in points], color=_ORANGE, label="answered rightly, of the known"
    )
    axes.plot(
        thresholds,
        [point.refused for point in points],
        color=_GREY,
        linestyle="--",
        label="not answered, of the unknown",
    )
    axes.axhline(precision, color=_BLUE, linestyle=":", linewidth=1)
    if chosen is not None:
        axes.axvline(chosen.threshold, color="black", linewidth=1)
        axes.plot([chosen.threshold], [chosen.precision], "o", color=_BLUE)
        axes.plot([chosen.threshold], [chosen.share], "o", color=_ORANGE)
        axes.annotate(f"{chosen.threshold:.3f}", (chosen.threshold, 0.02), (4, 0), textcoords="offset points")
    axes.set(xlabel="confidence from which is answered", ylabel="share", ylim=(0, 1.02), title=title)
    axes.grid(alpha=0.25)
    axes.legend(loc="best", frameon=False)
    figure.savefig(path, format="png")
