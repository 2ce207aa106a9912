from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.evaluation.charts import LABEL_PITCH, NARROW, WIDE
from qstar_core.evaluation.sweep_charts import (
    log_ticks,
    spent_seconds,
    spent_tokens,
    sweep_chart,
)


def row(method: str, tokens: float, accuracy: float) -> dict[str, Any]:
    low, high = max(0.0, accuracy - 0.1), min(1.0, accuracy + 0.1)
    figures = {"policy_tokens": tokens, "seconds": tokens / 5, "n": 20, "budget": 400.0}
    figures |= {"low": low, "high": high, "oracle": min(1.0, accuracy + 0.1)}
    verdict = "baseline" if method == "best-of-N" else "better"
    return {"method": method, "accuracy": accuracy, "verdict": verdict, **figures}


ROWS = [
    row("greedy", 33, 0.3),
    row("A*", 90, 0.4),
    row("greedy", 33, 0.3),
    row("A*", 350, 0.8),
    row("best-of-N", 90, 0.5),
    row("best-of-N", 380, 0.7),
]


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_points_lie_inside_and_whiskers_around_them(size: tuple[float, float]) -> None:
    chart = sweep_chart(ROWS, spent_tokens, size)
    assert chart is not None
    greedy, star, _ = chart["lines"]
    assert (len(greedy["points"]), len(star["points"])) == (1, 2)
    for line in chart["lines"]:
        for point in line["points"]:
            assert chart["left"] < point["x"] < chart["right"]
            assert chart["top"] <= point["high"] < point["y"] < point["low"] <= chart["bottom"]
    assert star["points"][0]["x"] < star["points"][1]["x"]
    assert star["path"].startswith("M") and star["path"].count("L") == 1
    assert (star["share"], greedy["share"]) == (0.8, 0.3)
    ys = sorted([chart["oracle"]["label_y"], *(line["label_y"] for line in chart["lines"])])
    assert all(b - a >= LABEL_PITCH for a, b in pairwise(ys))
    assert chart["oracle"]["share"] == pytest.approx(0.8)
    assert all(chart["left"] <= tick["at"] <= chart["right"] for tick in chart["x_ticks"])


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_many_methods_at_one_amount_stay_near_it(size: tuple[float, float]) -> None:
    """Else a method would stand where another spent, say, a tenth less."""
    rows = [row(f"method {place}", 100 * 2**k, 0.5) for k in range(3) for place in range(14)]
    chart = sweep_chart(rows, spent_tokens, size)
    assert chart is not None
    xs = [line["points"][1]["x"] for line in chart["lines"]]
    assert xs == sorted(set(xs))
    assert xs[-1] - xs[0] < 0.05 * (chart["right"] - chart["left"])


def test_doubling_the_tokens_is_the_same_way_everywhere() -> None:
    rows = [row("A*", tokens, 0.5) for tokens in (100, 200, 400)]
    chart = sweep_chart(rows, spent_tokens)
    assert chart is not None and chart["oracle"] is None
    a, b, c = (point["x"] for point in chart["lines"][0]["points"])
    assert b - a == pytest.approx(c - b, abs=0.05)
    assert [tick["text"] for tick in chart["x_ticks"]] == ["100", "200"]


def test_seconds_are_those_of_one_problem() -> None:
    assert spent_seconds(row("A*", 100, 0.5)) == 1.0
    assert spent_tokens(row("A*", 100, 0.5)) == 100.0


def test_a_chart_of_nothing_and_of_nothing_spent() -> None:
    assert sweep_chart([], spent_tokens) is None
    assert sweep_chart([row("A*", 0, 0.5)], spent_tokens) is not None


@given(st.floats(1e-6, 1e6), st.floats(1.3, 1e6), st.integers(4, 10))
def test_ticks_ascend_inside_the_axis(low: float, factor: float, wanted: int) -> None:
    marks = log_ticks(low, low * factor, wanted)
    assert 2 <= len(marks) <= wanted
    assert marks == sorted(marks)
    assert low * (1 - 1e-6) <= marks[0] and marks[-1] <= low * factor * (1 + 1e-6)


SHARES = st.floats(0.0, 1.0)


@given(st.lists(st.tuples(st.integers(1, 5000), SHARES, SHARES), min_size=1, max_size=6))
def test_the_line_of_the_baseline_never_crosses_the_oracle(points: list[Any]) -> None:
    """Both have their corners at the same places, and there the oracle is not lower."""
    rows = [
        {**row("best-of-N", tokens, min(a, b)), "oracle": max(a, b)}
        for tokens, a, b in sorted(points)
    ]
    chart = sweep_chart([row("greedy", 30, 0.2), *rows], spent_tokens)
    assert chart is not None
    upper, lower = corners(chart["oracle"]["path"]), corners(chart["lines"][1]["path"])
    assert [x for x, _ in upper] == [x for x, _ in lower]
    assert all(high <= low for (_, high), (_, low) in zip(upper, lower, strict=True))


def corners(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (p.split() for p in path[1:].split("L"))]


def test_ticks_by_hand() -> None:
    assert log_ticks(30, 900) == [50, 100, 200, 500]
    assert log_ticks(0.02, 40, 5) == [0.1, 1.0, 10.0]
    assert log_ticks(2.1, 4.0) == [2.1, 4.0]
