from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.evaluation.charts import (
    NARROW,
    WIDE,
    curve_chart,
    interval_mark,
    reliability_chart,
    spread,
    ticks,
)

CURVE = [
    {"method": "greedy", "points": [[0, 0.0], [33, 0.34]]},
    {"method": "A*", "points": [[0, 0.0], [120, 0.4], [400, 0.76]]},
]


@given(st.floats(0.01, 1e7), st.integers(1, 10))
def test_ticks_are_round_and_inside(top: float, wanted: int) -> None:
    marks = ticks(top, wanted)
    assert marks[0] == 0 and marks[-1] <= top * (1 + 1e-6)
    assert 1 <= len(marks) <= wanted + 1


def test_ticks_by_hand() -> None:
    assert ticks(400, 4) == [0, 100, 200, 300, 400]
    assert ticks(0) == [0.0]


@given(st.lists(st.floats(0, 300), min_size=1, max_size=6))
def test_labels_keep_their_distance(wanted: list[float]) -> None:
    placed = sorted(spread(wanted, 17, 0, 300))
    assert all(b - a >= 17 - 1e-6 for a, b in pairwise(placed))
    assert all(-1e-6 <= y <= 300 + 1e-6 for y in placed)


def test_labels_that_fit_stay() -> None:
    assert spread([100, 50], 17, 0, 300) == [100, 50]
    assert spread([300, 299], 17, 0, 300) == [300, 283]


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_the_curve_is_a_staircase_to_the_right_edge(size: tuple[float, float]) -> None:
    chart = curve_chart(CURVE, size)
    assert chart is not None
    greedy, astar = chart["lines"]
    assert astar["path"].count("V") == 2 and astar["path"].endswith(f"H{chart['right']:g}")
    assert greedy["end_x"] < astar["end_x"] < chart["right"]
    assert chart["top"] < astar["end_y"] < greedy["end_y"] < chart["bottom"]
    assert [tick["text"] for tick in chart["y_ticks"]] == ["0", "20", "40", "60", "80", "100"]
    assert chart["x_ticks"][-1]["text"] == "400"


def test_charts_of_nothing() -> None:
    assert curve_chart([]) is None
    assert curve_chart([{"method": "A*", "points": []}]) is None
    assert reliability_chart([]) is None


def test_a_search_without_tokens_can_be_drawn() -> None:
    chart = curve_chart([{"method": "A*", "points": [[0, 0.5]]}])
    assert chart is not None and [t["text"] for t in chart["x_ticks"]] == ["0", "1"]


def test_the_reliability_of_a_calibrated_model_lies_on_the_diagonal() -> None:
    rows = [
        {
            "low": k / 10,
            "high": (k + 1) / 10,
            "mean_q": k / 10 + 0.05,
            "rate": k / 10 + 0.05,
            "n": 9,
        }
        for k in range(10)
    ]
    chart = reliability_chart(rows)
    assert chart is not None
    for point in chart["points"]:
        assert point["x"] - chart["left"] == pytest.approx(chart["bottom"] - point["y"])
    assert {bar["height"] for bar in chart["bars"]} == {40.0}


def test_the_interval_mark() -> None:
    row = {"low": 0.25, "accuracy": 0.5, "high": 1.0}
    assert interval_mark(row, 200) == {"width": 200, "low": 50, "at": 100, "high": 200}


def test_the_curve_before_calibration_is_drawn_where_it_differs() -> None:
    row = {"low": 0.0, "high": 0.1, "mean_q": 0.0, "rate": 0.5, "n": 3}
    after = [row, {**row, "low": 0.9, "high": 1.0, "mean_q": 1.0}]
    before = [{**row, "rate": 1.0}]
    chart = reliability_chart(after, before)
    assert chart is not None
    assert chart["before"] == f"M{chart['left']:g} {chart['top']:g}"
    for same in ((), after):
        unchanged = reliability_chart(after, same)
        assert unchanged is not None and unchanged["before"] == ""
        assert unchanged["path"] == chart["path"]
