"""Geometry of the charts of a sweep: accuracy with its interval against what was spent.

Pure numbers, drawn by ``templates/sweep.html.j2``; units as in `qstar_core.evaluation.charts`. What
was spent is on a logarithmic axis, because budgets are usually doubled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from qstar_core.evaluation.charts import CHARACTER, LABEL_PITCH, WIDE, spread

DODGE = 5.0
"""Distance between the whiskers of two methods that spent the same."""
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


def stairs(points: Sequence[Sequence[float]]) -> list[list[float]]:
    """The corners of a staircase: flat from each point to the next amount, then up."""
    found = [list(point) for point in points[:1]]
    for (_, share), (amount, after) in pairwise(points):
        found += [[amount, share], [amount, after]]
    return found


def sweep_chart(
    rows: Sequence[Row],
    oracle: Sequence[Sequence[float]],
    spent: Callable[[Row], float],
    size: tuple[float, float] = WIDE,
) -> dict[str, Any] | None:
    """Accuracy against what was spent: a line per method, a point with whiskers per budget.

    Args:
        rows: of `qstar_core.evaluation.sweep.sweep`.
        oracle: points (amount, share) of the upper line, amounts ascending.
        spent: what a row spent per problem, in the unit of the oracle's amounts.
        size: width and height of the drawing.

    Returns:
        width, height, the plot's edges (left, right, top, bottom), x_ticks and y_ticks (at,
        text), lines (method, path, points, end_x, end_y, label_y, share) and oracle (path, end_x,
        end_y, label_y, share; None without points). A point has x, y, low, high (ends of the
        whisker) and row. None without rows.
    """
    if not rows:
        return None
    width, height = size
    names = list(dict.fromkeys(str(row["method"]) for row in rows))
    longest = max(len(name) for name in [*names, ORACLE])
    room = min(0.34 * width, 26 + CHARACTER * (longest + 6))
    left, right, top, bottom = 46.0, width - room, 14.0, height - 46.0
    amounts = [max(spent(row), 1e-9) for row in rows]
    low, high = min(amounts) / MARGIN, max(amounts) * MARGIN
    scale = (right - left) / math.log(high / low)

    def x(amount: float) -> float:
        return round(left + scale * math.log(min(max(amount, low), high) / low), 2)

    def y(share: float) -> float:
        return round(bottom - (bottom - top) * share, 2)

    lines: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        shift = DODGE * (place - (len(names) - 1) / 2)
        points: list[dict[str, Any]] = [
            {
                "x": round(x(max(spent(row), 1e-9)) + shift, 2),
                "y": y(row["accuracy"]),
                "low": y(row["low"]),
                "high": y(row["high"]),
                "row": row,
            }
            for row in rows
            if row["method"] == name
        ]
        share = points[-1]["row"]["accuracy"]
        lines.append({"method": name, "points": _distinct(points), "share": share})
    for line in lines:
        line["path"] = _polyline([(p["x"], p["y"]) for p in line["points"]])
        line["end_x"], line["end_y"] = line["points"][-1]["x"], line["points"][-1]["y"]
    top_line = _oracle([(x(a), y(s)) for a, s in oracle if a > 0], [s for _, s in oracle])
    labelled = [*([top_line] if top_line else []), *lines]
    places = spread([line["end_y"] for line in labelled], LABEL_PITCH, top, bottom)
    for line, place_y in zip(labelled, places, strict=True):
        line["label_y"] = place_y
    marks = log_ticks(low, high, 8 if width > 500 else 5)
    return {
        "width": width,
        "height": height,
        "left": left,
        "right": right,
        "top": top,
        "bottom": bottom,
        "x_ticks": [{"at": x(mark), "text": f"{mark:,.4g}"} for mark in marks],
        "y_ticks": [{"at": y(k / 5), "text": f"{20 * k}"} for k in range(6)],
        "lines": lines,
        "oracle": top_line,
    }


def _distinct(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without a point that stands where the one before it does: greedy spends no larger budget."""
    moved = [b for a, b in pairwise(points) if (a["x"], a["y"]) != (b["x"], b["y"])]
    return [points[0], *moved]


def _oracle(places: Sequence[Point], shares: Sequence[float]) -> dict[str, Any] | None:
    if not places:
        return None
    end_x, end_y = places[-1]
    path = _polyline(places)
    return {"path": path, "end_x": end_x, "end_y": end_y, "share": shares[-1]}


def _polyline(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{px:g} {py:g}" for px, py in points)
