from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qstar_core.evaluation.charts import NARROW, WIDE
from qstar_core.evaluation.trend_charts import trend_chart

SHARE = st.floats(0, 1)


def night(number: int, methods: dict[str, float], changes: int = 0) -> dict[str, Any]:
    rows = [
        {"method": name, "accuracy": share, "low": share / 2, "high": (1 + share) / 2}
        for name, share in methods.items()
    ]
    return {"date": f"2025-06-{number + 1:02d}", "methods": rows, "changes": [{}] * changes}


@given(
    st.lists(st.dictionaries(st.sampled_from(["A*", "best-of-N", "greedy"]), SHARE), max_size=40),
    st.sampled_from([WIDE, NARROW]),
)
def test_every_point_is_drawn_inside(
    shares: list[dict[str, float]], size: tuple[float, float]
) -> None:
    chart = trend_chart([night(k, each) for k, each in enumerate(shares)], size)
    wanted = sum(len(each) for each in shares)
    if chart is None:
        assert wanted == 0
        return
    points = [point for line in chart["lines"] for point in line["points"]]
    assert len(points) == wanted
    for point in points:
        assert chart["left"] <= point["x"] <= chart["right"]
        assert chart["top"] <= point["high"] <= point["y"] <= point["low"] <= chart["bottom"]
    at = [tick["at"] for tick in chart["x_ticks"]]
    assert all(b - a > 60 for a, b in itertools.pairwise(at))


def test_changes_are_marked_with_the_number_of_the_night() -> None:
    nights = [night(k, {"A*": 0.5}, changes=k == 3) for k in range(7)]
    chart = trend_chart(nights)
    assert chart is not None
    [mark] = chart["marks"]
    assert mark["text"] == "4"
    assert abs(mark["x"] - chart["lines"][0]["points"][3]["x"]) < 1


def test_nothing_to_draw() -> None:
    assert trend_chart([]) is None
