from __future__ import annotations

import numpy as np
import pytest

from qstar_core.values.intervals import intervals
from qstar_core.values.metrics import mean

RNG = np.random.default_rng(7)


def test_problems_are_drawn_not_rows() -> None:
    values = RNG.normal(size=50)
    rows, problems = np.repeat(values, 20), [f"p{k // 20}" for k in range(1000)]
    statistic = {"mean": lambda weights: mean(rows, weights)}
    by_problem = intervals(statistic, problems)["mean"]
    by_row = intervals(statistic, [str(k) for k in range(1000)])["mean"]
    assert by_problem is not None and by_row is not None
    wide, narrow = (high - low for low, high in (by_problem, by_row))
    expected = 2 * 1.96 * values.std() / np.sqrt(50)
    assert wide == pytest.approx(expected, rel=0.15)
    assert narrow < wide / 3


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = 0
    for _ in range(100):
        values = RNG.normal(size=40)
        statistic = {"mean": lambda weights, v=values: mean(v, weights)}
        low, high = intervals(statistic, [str(k) for k in range(40)], 200)["mean"]  # type: ignore[misc]
        hits += low <= 0.0 <= high
    assert hits >= 85


def test_what_is_undefined_has_no_interval() -> None:
    def undefined(weights: np.ndarray) -> float:
        return float("nan")

    assert intervals({"a": undefined}, ["p", "q"]) == {"a": None}
    assert intervals({"a": lambda weights: 1.0}, ["p", "p"]) == {"a": None}
    assert intervals({"a": lambda weights: 1.0}, []) == {"a": None}
    assert intervals({"a": lambda weights: 1.0}, ["p", "q"]) == {"a": [1.0, 1.0]}


def test_the_same_rows_have_the_same_bounds() -> None:
    values = RNG.normal(size=30)
    statistic = {"mean": lambda weights: mean(values, weights)}
    names = [f"p{k % 7}" for k in range(30)]
    assert intervals(statistic, names) == intervals(statistic, [f"x{name}" for name in names])
