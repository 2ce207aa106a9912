"""The report of a comparison over a sweep of budgets, as one HTML file that needs nothing else.

The rules of safety are those of `qstar_core.evaluation.report`; this page has no script at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from qstar_core.evaluation import charts, sweep_charts, sweep_wording, wording
from qstar_core.evaluation.report import (
    Origin,
    content_security_policy,
    flatten,
    method_colours,
    source,
    templates,
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """One sweep of budgets.

    Attributes:
        unit: of the budgets, ``tokens`` or ``seconds``.
        rows: of `qstar_core.evaluation.sweep.sweep`.
        reached: of `qstar_core.evaluation.sweep.reach`.
    """

    unit: str
    rows: Sequence[Row]
    reached: Sequence[Row]


@dataclass(frozen=True, kw_only=True)
class ComparisonData(Origin):
    """What a report of a comparison shows.

    Attributes:
        tokens: the sweep over policy tokens.
        seconds: the sweep over seconds; None when there was none.
        correction: ``holm`` or ``none``.
        price: of a million policy tokens, or None.
        workers: shards that were searched at once in the sweep over tokens.
    """

    tokens: Sweep
    seconds: Sweep | None
    correction: str
    price: float | None
    workers: int


def render(data: ComparisonData) -> str:
    """The HTML page."""
    rows = data.tokens.rows
    environment = templates()
    environment.filters.update(
        amount=sweep_wording.amount,
        cost=partial(sweep_wording.cost_per_thousand, price=data.price),
        reach=sweep_wording.reach_sentence,
        overran=sweep_wording.overran,
    )
    return environment.get_template("comparison_report.html.j2").render(
        data=data,
        seed=data.config.get("seed"),
        units=sweep_wording.UNITS,
        summary=sweep_wording.summary(rows, data.tokens.reached, "tokens"),
        failures=failures([data.tokens, *([data.seconds] if data.seconds else [])]),
        headline=wording.headline(rows),
        baseline=wording.baseline(rows),
        colours=method_colours(rows),
        mark=charts.interval_mark,
        token_charts=drawings(rows, sweep_charts.spent_tokens),
        second_charts=drawings((data.seconds or data.tokens).rows, sweep_charts.spent_seconds),
        sweeps=[view(sweep, data.correction) for sweep in (data.tokens, data.seconds) if sweep],
        config_text=json.dumps(data.config, indent=2, ensure_ascii=False, default=str),
        environment=flatten(data.environment),
        style=source("report.css"),
        policy=content_security_policy(None),
    )


def drawings(rows: Sequence[Row], spent: Callable[[Row], float]) -> list[Any]:
    """(name, chart) in both sizes; see `sweep_charts.sweep_chart`."""
    return [
        (name, sweep_charts.sweep_chart(rows, spent, size)) for name, size in charts.SIZES.items()
    ]


def view(sweep: Sweep, correction: str) -> dict[str, Any]:
    """A sweep as its tables show it.

    Returns:
        unit; budgets, a list of (budget, rows); family, a sentence on p-values; summary; overran,
        what a mark at seconds means, empty where there is none; final and earlier, the rows of
        `reach` for the baseline's largest budget and for the others.
    """
    budgets: dict[float, list[Row]] = {}
    for row in sweep.rows:
        budgets.setdefault(row["budget"], []).append(row)
    largest = max(budgets, default=None)
    marked = any(sweep_wording.overran(row, sweep.unit) for row in sweep.rows)
    return {
        "unit": sweep.unit,
        "budgets": list(budgets.items()),
        "family": sweep_wording.family(sweep.rows, correction),
        "summary": sweep_wording.summary(sweep.rows, sweep.reached, sweep.unit),
        "overran": sweep_wording.OVERRAN if marked else "",
        "final": [row for row in sweep.reached if row["target_budget"] == largest],
        "earlier": [row for row in sweep.reached if row["target_budget"] != largest],
    }


def failures(sweeps: Sequence[Sweep]) -> list[str]:
    """One sentence per budget and method whose searches or grading failed."""
    return [
        f"{sentence} (budget {sweep_wording.amount(row['budget'], sweep.unit)})"
        for sweep in sweeps
        for row in sweep.rows
        for sentence in wording.failures([row])
    ]
