"""Geometry of the charts of a sweep: accuracy with its interval against what was spent.

Pure numbers, drawn by ``templates/sweep.html.j2``; units as in `qstar_core.evaluation.charts`. What
was spent is on a logarithmic axis, because budgets are usually doubled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from qstar_core.evaluation.charts import CHARACTER, LABEL_PITCH, WIDE, spread

DODGE = 5.0
"""Distance between the whiskers of two methods that spent the same, at most."""
DODGED = 0.04
"""Share of the plot's width over which the points at one amount are spread, at most."""
MARGIN = 1.15
"""By which factor the axis goes on beyond the smallest and the largest amount."""
STEPS: tuple[tuple[int, ...], ...] = ((1, 2, 5), (1, 5), (1,))
ORACLE = "oracle"

Row = Mapping[str, Any]
Point = tuple[float, float]


def log_ticks(low: float, high: float, wanted: int = 8) -> list[float]:
    """At most ``wanted`` round numbers m x 10^k in [low, high], low > 0; else the two ends."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in STEPS:
        marks = [m * 10.0**k for k in powers for m in steps]
        inside = [round(mark, 12) for mark in marks if low <= mark <= high]
        if 1 < len(inside) <= wanted:
            return inside
    return [low, high]


def spent_tokens(row: Row) -> float:
    """Policy tokens spent, mean per problem."""
    return float(row["policy_tokens"])


def spent_seconds(row: Row) -> float:
    """Machine seconds spent, mean per problem."""
    return float(row["seconds"]) / float(row["n"])


def sweep_chart(
    rows: Sequence[Row],
    spent: Callable[[Row], float],
    size: tuple[float, float] = WIDE,
) -> dict[str, Any] | None:
    """Accuracy against what was spent: a line per method, a point with whiskers per budget.

    The oracle is drawn like the methods, above the points of the baseline and joined straight, so
    it never lies below the line of the baseline.

    Args:
        rows: of `qstar_core.evaluation.sweep.sweep`.
        spent: what a row spent per problem.
        size: width and height of the drawing.

    Returns:
        width, height, the plot's edges (left, right, top, bottom), x_ticks and y_ticks (at,
        text), lines (method, path, points, end_x, end_y, label_y, share) and oracle (path, end_x,
        end_y, label_y, share; None without a baseline). A point has x, y, low, high (ends of the
        whisker) and row. None without rows.
    """
    if not rows:
        return None
    names = list(dict.fromkeys(str(row["method"]) for row in rows))
    plot = _plot(names, [_amount(row, spent) for row in rows], size)
    apart = min(DODGE, DODGED * (plot.right - plot.left) / max(1, len(names) - 1))
    lines = [
        _line(name, [row for row in rows if row["method"] == name], spent, plot, shift)
        for place, name in enumerate(names)
        for shift in [apart * (place - (len(names) - 1) / 2)]
    ]
    top_line = _oracle(lines, plot)
    labelled = [*([top_line] if top_line else []), *lines]
    places = spread([line["end_y"] for line in labelled], LABEL_PITCH, plot.top, plot.bottom)
    for line, place_y in zip(labelled, places, strict=True):
        line["label_y"] = place_y
    marks = log_ticks(plot.low, plot.high, 8 if plot.width > 500 else 5)
    edges = ("width", "height", "left", "right", "top", "bottom")
    return {
        **{name: getattr(plot, name) for name in edges},
        "x_ticks": [{"at": plot.x(mark), "text": f"{mark:,.4g}"} for mark in marks],
        "y_ticks": [{"at": plot.y(k / 5), "text": f"{20 * k}"} for k in range(6)],
        "lines": lines,
        "oracle": top_line,
    }


@dataclass(frozen=True, slots=True)
class _Plot:
    """The edges of the drawing and of the plot in it, and the amounts at its left and right."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    low: float
    high: float

    def x(self, amount: float) -> float:
        """Where an amount stands on the logarithmic axis; at an edge if it lies beyond it."""
        scale = (self.right - self.left) / math.log(self.high / self.low)
        inside = min(max(amount, self.low), self.high)
        return round(self.left + scale * math.log(inside / self.low), 2)

    def y(self, share: float) -> float:
        """Where a share in 0..1 stands."""
        return round(self.bottom - (self.bottom - self.top) * share, 2)


def _plot(names: Sequence[str], amounts: Sequence[float], size: tuple[float, float]) -> _Plot:
    """The plot of some amounts, with room for the names of the lines at its right."""
    width, height = size
    longest = max(len(name) for name in [*names, ORACLE])
    room = min(0.34 * width, 26 + CHARACTER * (longest + 6))
    axis = min(amounts) / MARGIN, max(amounts) * MARGIN
    return _Plot(width, height, 46.0, width - room, 14.0, height - 46.0, *axis)


def _amount(row: Row, spent: Callable[[Row], float]) -> float:
    """What was spent, above 0: the axis is logarithmic."""
    return max(spent(row), 1e-9)


def _line(
    name: str, rows: Sequence[Row], spent: Callable[[Row], float], plot: _Plot, shift: float
) -> dict[str, Any]:
    """One method: its points, shifted to the right by so much, and the line through them."""
    points: list[dict[str, Any]] = [
        {
            "x": round(plot.x(_amount(row, spent)) + shift, 2),
            "y": plot.y(row["accuracy"]),
            "low": plot.y(row["low"]),
            "high": plot.y(row["high"]),
            "row": row,
        }
        for row in rows
    ]
    points = _distinct(points)
    return {
        "method": name,
        "points": points,
        "share": rows[-1]["accuracy"],
        "path": _polyline([(p["x"], p["y"]) for p in points]),
        "end_x": points[-1]["x"],
        "end_y": points[-1]["y"],
    }


def _distinct(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without a point that stands where the one before it does: greedy spends no larger budget."""
    moved = [b for a, b in pairwise(points) if (a["x"], a["y"]) != (b["x"], b["y"])]
    return [points[0], *moved]


def _oracle(lines: Sequence[Mapping[str, Any]], plot: _Plot) -> dict[str, Any] | None:
    """The oracle of the baseline, at the places of its points."""
    points = [p for line in lines for p in line["points"] if p["row"]["verdict"] == "baseline"]
    if not points:
        return None
    places = [(point["x"], plot.y(point["row"]["oracle"])) for point in points]
    end_x, end_y = places[-1]
    share = points[-1]["row"]["oracle"]
    return {"path": _polyline(places), "end_x": end_x, "end_y": end_y, "share": share}


def _polyline(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{px:g} {py:g}" for px, py in points)
