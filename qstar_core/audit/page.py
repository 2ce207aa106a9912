"""The audit as one HTML file that needs nothing else.

The rules of safety are those of `qstar_core.evaluation.report`; this page has no script at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qstar_core.audit import charts
from qstar_core.evaluation.charts import SIZES
from qstar_core.evaluation.report import content_security_policy, source, templates

COLOURS = 7
"""Of the style sheet: one for each method."""
CHARTS = (
    ("mse", "n", "mean squared error"),
    ("mse", "tokens", "mean squared error at equal tokens"),
    ("bias", "n", "bias: mean of label less exact value"),
)
"""Figure, what it is drawn against, and the title."""


def render(found: Mapping[str, Any]) -> str:
    """The HTML page.

    Args:
        found: of `qstar_core.audit.run.audit`.
    """
    rows = (found["truth"] or {}).get("rows", [])
    methods = list(dict.fromkeys(row["method"] for row in rows))
    drawings = [
        (title, figure, along, name, charts.error_chart(rows, figure, size, along))
        for figure, along, title in CHARTS
        for name, size in SIZES.items()
    ]
    return (
        templates()
        .get_template("audit.html.j2")
        .render(
            data=found,
            histograms=[charts.histogram(row) for row in found["steps"]],
            drawings=drawings,
            colours={name: i % COLOURS + 1 for i, name in enumerate(methods)},
            style=source("report.css"),
            policy=content_security_policy(None),
        )
    )
