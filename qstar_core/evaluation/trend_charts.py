"""Geometry of the trend of nights: accuracy with its interval, a line per method.

Pure numbers, drawn by ``templates/index.html.j2``; units as in `qstar_core.evaluation.charts`. The
nights stand at equal distances in their order, so that one that was made up for later, or two on
one day, do not fall on each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qstar_core.evaluation.charts import CHARACTER, LABEL_PITCH, WIDE, spread

DODGE = 4.0
"""Distance between the whiskers of two methods in one night."""
DATE_ROOM = 86.0
"""Least distance between the dates below the axis."""

Row = Mapping[str, Any]
Place = Callable[[int], float]
Share = Callable[[float], float]


def trend_chart(nights: Sequence[Row], size: tuple[float, float] = WIDE) -> dict[str, Any] | None:
    """Accuracy by night.

    Args:
        nights: in order; with date (text), methods (rows with method, accuracy, low and high) and
            changes (what differs from the night before).
        size: width and height of the drawing.

    Returns:
        width, height, the plot's edges, x_ticks (dates) and y_ticks (at, text), lines (method,
        path, points, end_x, end_y, label_y, share) and marks (x, text: the number of the night)
        where the configuration changed. A point has x, y, low, high, date and row. A line goes
        over nights that lack its method. None without nights.
    """
    names = list(dict.fromkeys(row["method"] for night in nights for row in night["methods"]))
    if not names:
        return None
    width, height = size
    room = min(0.34 * width, 26 + CHARACTER * (max(len(name) for name in names) + 6))
    left, right, top, bottom = 46.0, width - room, 24.0, height - 46.0
    inner = right - left - 2 * DODGE * len(names)

    def x(place: int) -> float:
        share = 0.5 if len(nights) == 1 else place / (len(nights) - 1)
        return left + DODGE * len(names) + inner * share

    def y(share: float) -> float:
        return round(bottom - (bottom - top) * share, 2)

    lines = [
        _line(name, nights, x, y, DODGE * (number - (len(names) - 1) / 2))
        for number, name in enumerate(names)
    ]
    places = spread([line["end_y"] for line in lines], LABEL_PITCH, top, bottom)
    for line, at in zip(lines, places, strict=True):
        line["label_y"] = at
    return {
        "width": width,
        "height": height,
        "left": left,
        "right": right,
        "top": top,
        "bottom": bottom,
        "x_ticks": _dates(nights, x, inner),
        "y_ticks": [{"at": y(k / 5), "text": f"{20 * k}"} for k in range(6)],
        "lines": lines,
        "marks": [
            {"x": round(x(place), 2), "text": f"{place + 1}"}
            for place, night in enumerate(nights)
            if night["changes"]
        ],
    }


def _line(name: str, nights: Sequence[Row], x: Place, y: Share, shift: float) -> dict[str, Any]:
    """One method: its points, shifted to the right by so much, and the line through them."""
    points = [
        {
            "x": round(x(place) + shift, 2),
            "y": y(row["accuracy"]),
            "low": y(row["low"]),
            "high": y(row["high"]),
            "date": night["date"],
            "row": row,
        }
        for place, night in enumerate(nights)
        for row in night["methods"]
        if row["method"] == name
    ]
    last = points[-1]
    return {
        "method": name,
        "points": points,
        "path": "M" + "L".join(f"{point['x']:g} {point['y']:g}" for point in points),
        "end_x": last["x"],
        "end_y": last["y"],
        "share": last["row"]["accuracy"],
    }


def _dates(nights: Sequence[Row], x: Place, inner: float) -> list[dict[str, Any]]:
    """The dates that have room below the axis, the first among them."""
    step = max(1, -(-len(nights) * int(DATE_ROOM) // max(1, int(inner))))
    return [
        {"at": round(x(place), 2), "text": str(nights[place]["date"])[:10]}
        for place in range(0, len(nights), step)
    ]
