from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from flows import sweeps, tables
from qstar_core import pipeline
from qstar_core.config import ComparisonConfig, RunConfig
from tests.flows.test_tables import text

HEAD: dict[str, Any] = {
    "algorithm": "best_of_n",
    "n": 500,
    "correct": 390,
    "low": 0.742,
    "high": 0.815,
    "oracle": 0.9,
    "policy_tokens": 391.4,
    "value_calls": 57.2,
    "seconds": 61.3,
    "failures": 0,
    "outcomes": {"correct": 390, "wrong": 110},
}
NONE = ("difference", "difference_low", "difference_high", "p_value", "p_adjusted")
LOSS = dict(zip(NONE, (-0.2, -0.249, -0.151, 0.0001, 0.0004), strict=True))
GAIN = dict(zip(NONE, (0.2, 0.151, 0.249, 0.0001, 0.0004), strict=True))
ROWS: list[dict[str, Any]] = [
    row
    for budget in (100.0, 12800.0)
    for row in (
        {
            **HEAD,
            "method": "best-of-N",
            "budget": budget,
            "accuracy": 0.581,
            **dict.fromkeys(NONE),
            "verdict": "baseline",
        },
        {
            **HEAD,
            "method": "A*",
            "algorithm": "astar",
            "budget": budget,
            "accuracy": 0.781,
            **GAIN,
            "verdict": "better",
        },
        {
            **HEAD,
            "method": "beam",
            "budget": budget,
            "accuracy": 0.6,
            **LOSS,
            "verdict": "worse" if budget == 100.0 else "not significant",
        },
    )
]
REACHED = [
    {
        "method": "A*",
        "algorithm": "astar",
        "target_budget": 12800.0,
        "target": 0.581,
        "target_tokens": 391.4,
        "budget": 100.0,
        "accuracy": 0.781,
        "policy_tokens": 391.4,
        "ratio": 1.0,
        **GAIN,
        "pairs": 500,
        "verdict": "better",
    }
]


def test_the_table_fits_80_columns_and_shows_every_figure() -> None:
    shown = text(sweeps.sweep_table(ROWS, "tokens"))
    for part in (
        "Equal policy tokens per problem on 500 held-out problems",
        "at 100",
        "at 12,800",
        "oracle 90.0",
        "78.1 (74.2-81.5)",
        "391",
        "-20.0 (-24.9, -15.1)",
        "< 0.001",
        "better",
        "worse",
        "not",
        "significant",
        "baseline",
    ):
        assert part in shown
    assert "…" not in shown and "..." not in shown


def test_a_price_gives_the_cost_of_a_thousand_problems() -> None:
    shown = text(sweeps.sweep_table(ROWS, "seconds", price=0.5))
    assert "cost per" in shown and "0.196" in shown and "0.123" not in shown
    assert "…" not in shown
    shown = text(sweeps.sweep_table(ROWS, "seconds"))
    assert "0.123" in shown and "391" not in shown


def test_seconds_over_the_budget_are_marked() -> None:
    rows = [{**row, "budget": 0.1} for row in ROWS[:3]]
    rows[1]["seconds"] = 56.0
    shown = text(sweeps.sweep_table(rows, "seconds"))
    assert "*0.112" in shown and "*0.123" in shown
    assert "* took over 10 % more seconds than the budget" in " ".join(shown.split())
    rows = [{**row, "budget": 0.12} for row in rows]
    assert "*0." not in text(sweeps.sweep_table(rows, "seconds"))
    assert "*0." not in text(sweeps.sweep_table(rows, "tokens"))


def test_failures_are_named_with_their_budget() -> None:
    rows = [{**ROWS[0], "failures": 3}, *ROWS[1:]]
    assert "best-of-N at 100: 3" in text(sweeps.sweep_table(rows, "tokens"))


@pytest.mark.parametrize("name", ["majority [q]", "[/x]", "[red]x", ":smile:", "a\x1b[2J"])
def test_names_of_methods_are_shown_as_they_are(name: str) -> None:
    named = [{**row, "method": name, "failures": 2} for row in ROWS]
    reached = [{**REACHED[0], "method": name}]
    shown = name.replace("\x1b", r"\x1b")
    table = " ".join(text(sweeps.sweep_table(named, "tokens"), 200).split())
    assert table.count(shown) == 2 * len(ROWS)
    assert shown in text(sweeps.reach_table(reached), 200)
    out = io.StringIO()
    figures = {"sweep": named, "reach": reached}
    manifests = {
        "comparison": {"uri": "o/c/k"},
        "comparison_report": {
            "uri": "o/r/k",
            "files": [{"name": "report.html"}],
            "figures": {"sweeps": {"comparison": figures}},
        },
    }
    sweeps.show_end(Console(file=out, width=200), RunConfig(), manifests, f"qstar --set x={name}")
    assert f"qstar --set x={shown} --set" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_the_oracle_is_what_was_generated() -> None:
    assert "oracle: the baseline generated a correct" in text(sweeps.sweep_table(ROWS, "tokens"))


def test_show_knows_a_sweep() -> None:
    shown = [text(t) for t in tables.figures_tables({"sweep": ROWS, "reach": REACHED}, "timing")]
    assert "Equal seconds" in shown[0]
    for part in ("12,800: 58.1 %", "78.1", "1.0", "+20.0 (15.1, 24.9)"):
        assert part in shown[1]
    assert "…" not in shown[1]
    never = {**REACHED[0], **dict.fromkeys((*NONE, "budget", "accuracy", "policy_tokens"))}
    assert "none" in text(sweeps.reach_table([never]))


def test_show_knows_the_sweeps_of_a_report() -> None:
    figures = {"sweep": ROWS, "reach": REACHED}
    made = tables.figures_tables({"sweeps": {"comparison": figures, "timing": figures}})
    shown = [text(table) for table in made]
    assert len(shown) == 4
    assert "Equal seconds" in shown[2] and "Equal seconds" not in shown[0]


def test_the_end_of_a_comparison_says_the_headline_and_what_to_do_next() -> None:
    out = io.StringIO()
    figures = {"sweep": ROWS, "reach": REACHED}
    manifests = {
        "comparison": {"uri": "out/comparison/k", "figures": {}},
        "comparison_report": {
            "uri": "out/comparison_report/k",
            "files": [{"name": "report.html"}],
            "figures": {"sweeps": {"comparison": figures}},
        },
    }
    sweeps.show_end(Console(file=out, width=80), RunConfig(), manifests, "qstar compare x.yaml")
    shown = out.getvalue()
    assert "A* reaches the accuracy of best-of-N at 12,800 policy tokens (58.1 %)" in shown
    assert "128.0 times fewer" in shown
    assert "Comparison out/comparison/k" in shown
    assert "report.html" in shown and "qstar explain out/comparison/k 1" in shown
    assert "qstar compare x.yaml --set comparison.price" in shown


def test_each_sweep_can_be_explained_and_a_price_is_not_asked_for_twice() -> None:
    out = io.StringIO()
    figures = {"sweep": ROWS, "reach": REACHED}
    manifests = {name: {"uri": f"out/{name}/k", "figures": {}} for name in pipeline.SWEEPS}
    manifests["comparison_report"] = {
        "uri": "out/comparison_report/k",
        "files": [{"name": "report.html"}],
        "figures": {"sweeps": dict.fromkeys(pipeline.SWEEPS, figures)},
    }
    config = RunConfig(comparison=ComparisonConfig(price_per_million_tokens=0.5))
    sweeps.show_end(Console(file=out, width=80), config, manifests, "qstar compare x.yaml")
    shown = out.getvalue()
    assert "qstar explain out/comparison/k 1\n" in shown
    assert "qstar explain out/timing/k 1\n" in shown
    assert "comparison.price_per_million_tokens" not in shown
