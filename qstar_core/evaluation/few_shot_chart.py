"""A drawing of what learners reach after few or many training questions, as an SVG by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qstar_core.evaluation.charts import WIDE
from qstar_core.evaluation.report import templates
from qstar_core.evaluation.trend_charts import trend_chart

Row = Mapping[str, Any]
MOST = 4
"""Learners that can be told apart by colour and dashes."""


def few_shot_chart(points: Sequence[Row], size: tuple[float, float] = WIDE) -> str:
    """Accuracy by the number of training questions, a line per learner.

    Args:
        points: rows questions, method, accuracy, low and high, the last three in [0, 1]. The
            numbers of questions stand at equal distances, smallest first.
        size: width and height of the drawing.

    Returns:
        The SVG.

    Raises:
        ValueError: there is no point, or more learners than can be drawn.
    """
    counts = sorted({row["questions"] for row in points})
    columns = [
        {
            "date": str(count),
            "methods": [row for row in points if row["questions"] == count],
            "changes": (),
        }
        for count in counts
    ]
    chart = trend_chart(columns, size)
    if chart is None or len(chart["lines"]) > MOST:
        raise ValueError(f"1 to {MOST} learners can be drawn")
    return str(templates().get_template("few_shot.svg.j2").render(c=chart))
