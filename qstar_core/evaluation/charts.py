"""Geometry of the report's charts: pure numbers, drawn by ``templates/charts.html.j2``.

Coordinates are in drawing units, which are CSS pixels at the chart's natural size; y grows
downwards. Each chart exists in two widths, so that its letters stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDE = (1056.0, 400.0)
NARROW = (360.0, 300.0)
SIZES = {"wide": WIDE, "narrow": NARROW}
LABEL_PITCH = 17.0
"""Least distance between direct labels at the end of curves."""
CHARACTER = 7.2
"""Width of a letter of a label at 13 px, generously."""

Row = Mapping[str, Any]


def ticks(top: float, wanted: int = 5) -> list[float]:
    """Round numbers from 0 to at most ``top``, about ``wanted`` steps of 1, 2 or 5 x 10^k."""
    if not (top > 0 and math.isfinite(top)):
        return [0.0]
    rough = top / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    return [round(k * step, 10) for k in range(math.floor(top / step + 1e-9) + 1)]


def spread(wanted: Sequence[float], pitch: float, low: float, high: float) -> list[float]:
    """Positions as near as possible to the wanted ones, at least ``pitch`` apart.

    Args:
        wanted: in any order.
        pitch: least distance.
        low: smallest position allowed.
        high: largest position allowed, kept to where the labels fit.

    Returns:
        Positions in the order of ``wanted``; equal wishes keep their order.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(wanted[i], low, placed[-1] + pitch if placed else low))
    limit = high
    for k in reversed(range(len(placed))):
        placed[k] = min(placed[k], limit)
        limit = placed[k] - pitch
    result = [0.0] * len(wanted)
    for i, y in zip(order, placed, strict=True):
        result[i] = y
    return result


def curve_chart(curve: Sequence[Row], size: tuple[float, float] = WIDE) -> dict[str, Any] | None:
    """Accuracy against policy tokens as steps, one line per method.

    Args:
        curve: rows of `qstar_core.evaluation.compare.accuracy_by_tokens`.
        size: width and height of the drawing.

    Returns:
        width, height, the plot's edges (left, right, top, bottom), x_ticks and y_ticks (at,
        text) and lines (method, path, end_x, end_y, label_y, share); None without points. A
        line runs flat to the right edge after its method's last search; the dot is its end.
    """
    lines = [row for row in curve if row["points"]]
    if not lines:
        return None
    width, height = size
    longest = max(len(row["method"]) for row in lines)
    room = min(0.34 * width, 18 + CHARACTER * (longest + 6))
    left, right, top, bottom = 46.0, width - room, 14.0, height - 46.0
    most = max(1.0, *(float(row["points"][-1][0]) for row in lines))
    x_ticks = ticks(most, 8 if width > 500 else 4)
    right_tokens = 1.04 * most  # so that a rise at the very end does not fall on the edge

    def x(tokens: float) -> float:
        return round(left + (right - left) * tokens / right_tokens, 2)

    def y(share: float) -> float:
        return round(bottom - (bottom - top) * share, 2)

    ends = [row["points"][-1] for row in lines]
    label_ys = spread([y(share) for _, share in ends], LABEL_PITCH, top, bottom)
    return {
        "width": width,
        "height": height,
        "left": left,
        "right": right,
        "top": top,
        "bottom": bottom,
        "x_ticks": [{"at": x(t), "text": f"{t:,.0f}"} for t in x_ticks if t == int(t)],
        "y_ticks": [{"at": y(k / 5), "text": f"{20 * k}"} for k in range(6)],
        "lines": [
            {
                "method": row["method"],
                "path": _steps([(x(t), y(s)) for t, s in row["points"]], right),
                "end_x": x(end[0]),
                "end_y": y(end[1]),
                "label_y": label_y,
                "share": end[1],
            }
            for row, end, label_y in zip(lines, ends, label_ys, strict=True)
        ],
    }


def _steps(points: Sequence[tuple[float, float]], right: float) -> str:
    """A staircase: flat to the next x, then up."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for px, py in points[1:]:
        path += f"H{px:g}V{py:g}"
    return f"{path}H{right:g}"


def reliability_chart(
    table: Sequence[Row], before: Sequence[Row] = (), size: float = 340.0
) -> dict[str, Any] | None:
    """Observed rate against predicted value, with the number of predictions below.

    Args:
        table: rows low, high, mean_q, rate, n of `qstar_core.evaluation.metrics.reliability`.
        before: the same before calibration.
        size: width of the drawing.

    Returns:
        width, height, the plot's edges, ticks, points (x, y, and the row's figures), path (the
        line through the points), before (the same before calibration, empty where that changed
        nothing), bars (x, y, width, height: share of predictions in the bin) and the baseline of
        the bars; None without rows.
    """
    if not table:
        return None
    left, right, top = 46.0, size - 14.0, 14.0
    bottom = top + (right - left)
    floor = bottom + 92.0

    def x(value: float) -> float:
        return round(left + (right - left) * value, 2)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * value, 2)

    most = max(row["n"] for row in table)
    points = [{**row, "x": x(row["mean_q"]), "y": y(row["rate"])} for row in table]
    earlier = [{"x": x(row["mean_q"]), "y": y(row["rate"])} for row in before]
    bars = [
        {
            "x": x(row["low"]) + 1,
            "y": round(floor - 40 * row["n"] / most, 2),
            "width": round(x(row["high"]) - x(row["low"]) - 2, 2),
            "height": round(40 * row["n"] / most, 2),
            "n": row["n"],
        }
        for row in table
    ]
    return {
        "width": size,
        "height": floor + 22,
        "left": left,
        "right": right,
        "top": top,
        "bottom": bottom,
        "floor": floor,
        "x_ticks": [{"at": x(k / 5), "text": f"{k / 5:.1f}"} for k in range(6)],
        "y_ticks": [{"at": y(k / 5), "text": f"{k / 5:.1f}"} for k in range(6)],
        "points": points,
        "path": _line(points),
        "before": _line(earlier) if list(before) != list(table) else "",
        "bars": bars,
    }


def _line(points: Sequence[Row]) -> str:
    """A path through points; empty without any."""
    return "M" + "L".join(f"{p['x']:g} {p['y']:g}" for p in points) if points else ""


def interval_mark(row: Row, width: float = 150.0) -> dict[str, float]:
    """Accuracy and its interval on an axis from 0 to 1: the positions low, at and high."""
    names = {"low": "low", "at": "accuracy", "high": "high"}
    return {"width": width, **{k: round(width * row[v], 2) for k, v in names.items()}}
