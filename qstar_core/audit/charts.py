"""Geometry of the charts of an audit: pure numbers, drawn by ``templates/audit.html.j2``.

Units as in `qstar_core.evaluation.charts`. Samples and tokens are on a logarithmic axis, because
they are doubled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qstar_core.evaluation.charts import CHARACTER, LABEL_PITCH, WIDE, spread, ticks
from qstar_core.evaluation.sweep_charts import log_ticks

Row = Mapping[str, Any]
Drawing = dict[str, Any]

HISTOGRAM = (240.0, 170.0)


def histogram(row: Row, size: tuple[float, float] = HISTOGRAM) -> Drawing:
    """The labels of one step: a bar per bin of y, its height the share of the step's labels.

    Args:
        row: of `qstar_core.audit.steps.by_step`.
        size: width and height of the drawing.

    Returns:
        width, height, the plot's edges, x_ticks and y_ticks (at, text), bars (x, y, width, height,
        low, high, n, share), step and n.
    """
    width, height = size
    left, right, top, bottom = 40.0, width - 8.0, 12.0, height - 46.0
    bins = len(row["histogram"])
    pitch = (right - left) / bins
    bars = []
    for k, n in enumerate(row["histogram"]):
        share = n / row["n"]
        tall = round((bottom - top) * share, 2)
        bars.append(
            {
                "x": round(left + k * pitch + 1, 2),
                "y": round(bottom - tall, 2),
                "width": round(pitch - 2, 2),
                "height": tall,
                "low": k / bins,
                "high": (k + 1) / bins,
                "n": n,
                "share": share,
            }
        )
    return {
        **{"width": width, "height": height, "left": left, "right": right},
        **{"top": top, "bottom": bottom, "bars": bars, "step": row["step"], "n": row["n"]},
        "x_ticks": [{"at": left + (right - left) * k / 2, "text": f"{k / 2:g}"} for k in range(3)],
        "y_ticks": [{"at": bottom - (bottom - top) * k / 2, "text": f"{50 * k}"} for k in range(3)],
    }


def error_chart(
    rows: Sequence[Row], figure: str, size: tuple[float, float] = WIDE, along: str = "n"
) -> Drawing | None:
    """A figure of each method against the samples or the tokens it was given.

    Args:
        rows: of `qstar_core.audit.truth.against_truth`; those without the figure or
            without what it is drawn against are passed over.
        figure: ``bias`` (signed) or ``mse``.
        size: width and height of the drawing.
        along: ``n`` or ``tokens``.

    Returns:
        width, height, the plot's edges, x_ticks and y_ticks, zero (y of the figure 0) and lines
        (method, path, points with x, y and row, end_x, end_y, label_y, value); None without rows.
    """
    shown = [r for r in rows if r.get(figure) is not None and r.get(along) is not None]
    if not shown:
        return None
    width, height = size
    names = list(dict.fromkeys(row["method"] for row in shown))
    room = min(0.4 * width, 26 + CHARACTER * (max(map(len, names)) + 6))
    left, right, top, bottom = 52.0, width - room, 14.0, height - 46.0
    amounts = sorted({max(1.0, row[along]) for row in shown})
    low, high = _scale([row[figure] for row in shown])
    first, last = math.log2(amounts[0]), math.log2(max(amounts[-1], 2 * amounts[0]))

    def x(amount: float) -> float:
        share = (math.log2(max(1.0, amount)) - first) / (last - first)
        return round(left + 8 + (right - left - 16) * share, 2)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * (value - low) / (high - low), 2)

    lines = [
        _line(name, [(x(r[along]), y(r[figure]), r) for r in shown if r["method"] == name], figure)
        for name in names
    ]
    places = spread([line["end_y"] for line in lines], LABEL_PITCH, top, bottom)
    for line, place in zip(lines, places, strict=True):
        line["label_y"] = place
    stops = amounts if along == "n" else log_ticks(amounts[0], max(amounts[-1], 2 * amounts[0]))
    marks = [sign * t for t in ticks(max(high, -low)) for sign in (-1, 1) if t or sign > 0]
    return {
        **{"width": width, "height": height, "left": left, "right": right},
        **{"top": top, "bottom": bottom, "lines": lines, "zero": y(0.0)},
        "x_ticks": [{"at": x(mark), "text": f"{mark:,.4g}"} for mark in stops],
        "y_ticks": [{"at": y(m), "text": f"{m:g}"} for m in marks if low <= m <= high],
    }


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that has 0 and all values, with a little room."""
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.05 * (high - low) or 0.05
    return (low - room if low < 0 else 0.0), (high + room if high > 0 else 0.0) or room


def _line(name: str, places: Sequence[tuple[float, float, Row]], figure: str) -> Drawing:
    points = [{"x": x, "y": y, "row": row} for x, y, row in places]
    return {
        "method": name,
        "points": points,
        "path": "M" + "L".join(f"{p['x']:g} {p['y']:g}" for p in points),
        "end_x": points[-1]["x"],
        "end_y": points[-1]["y"],
        "value": places[-1][2][figure],
    }
