from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.audit.charts import error_chart, histogram
from qstar_core.evaluation.charts import NARROW, WIDE


def row(method: str, n: int, mse: float | None, bias: float | None = 0.0) -> dict[str, Any]:
    return {"method": method, "n": n, "mse": mse, "bias": bias}


def test_a_bar_is_as_high_as_its_share() -> None:
    chart = histogram({"step": 2, "n": 4, "histogram": [3, 0, 0, 0, 0, 0, 0, 0, 0, 1]})
    plot = chart["bottom"] - chart["top"]
    assert [bar["height"] for bar in chart["bars"]] == [0.75 * plot, *[0.0] * 8, 0.25 * plot]
    assert chart["bars"][0]["y"] + chart["bars"][0]["height"] == pytest.approx(chart["bottom"])
    assert chart["bars"][0]["x"] > chart["left"]
    assert chart["bars"][-1]["x"] + chart["bars"][-1]["width"] < chart["right"]
    assert [tick["text"] for tick in chart["x_ticks"]] == ["0", "0.5", "1"]


def test_doubled_samples_stand_at_equal_distances() -> None:
    rows = [row("soft", n, 0.2 / n) for n in (1, 2, 4)]
    chart = error_chart([*rows, {"method": "mcts_pool", "note": "needs a pool"}], "mse")
    assert chart is not None
    first, second, third = (tick["at"] for tick in chart["x_ticks"])
    assert second - first == pytest.approx(third - second, abs=0.02)
    assert [line["method"] for line in chart["lines"]] == ["soft"]
    assert chart["lines"][0]["value"] == 0.05
    assert chart["zero"] == chart["bottom"]


def test_errors_can_be_drawn_against_tokens() -> None:
    rows = [{**row("a", n, 0.1), "tokens": 30.0 * n} for n in (1, 2, 4)]
    rows += [{**row("b", 1, 0.2), "tokens": 60.0}, {**row("b", 2, 0.2), "tokens": None}]
    chart = error_chart(rows, "mse", along="tokens")
    assert chart is not None
    a, b = chart["lines"]
    assert b["points"][0]["x"] == a["points"][1]["x"]
    assert [tick["text"] for tick in chart["x_ticks"]] == ["50", "100"]
    assert error_chart([{**row("a", 1, 0.1), "tokens": 0.0}], "mse", along="tokens") is not None


def test_a_bias_has_both_signs() -> None:
    rows = [row("a", 1, 0.1, -0.5), row("a", 2, 0.1, -0.1), row("b", 1, 0.1, 0.25)]
    chart = error_chart(rows, "bias")
    assert chart is not None
    assert chart["top"] < chart["zero"] < chart["bottom"]
    a, b = chart["lines"]
    assert a["points"][0]["y"] > chart["zero"] > b["points"][0]["y"]
    texts = [tick["text"] for tick in chart["y_ticks"]]
    assert "0" in texts and any(t.startswith("-") for t in texts)


@pytest.mark.parametrize("figure", ["mse", "bias"])
def test_one_point_and_only_zeros_can_be_drawn(figure: str) -> None:
    chart = error_chart([row("a", 1, 0.0, 0.0)], figure)
    assert chart is not None and len(chart["lines"][0]["points"]) == 1
    assert error_chart([], figure) is None
    assert error_chart([row("a", 1, None, None)], figure) is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefg"), st.integers(0, 6), st.floats(-1, 1)),
        min_size=1,
        max_size=20,
        unique_by=lambda one: one[:2],
    ),
    st.sampled_from([WIDE, NARROW]),
)
def test_everything_stands_inside_of_the_plot(
    found: list[tuple[str, int, float]], size: tuple[float, float]
) -> None:
    chart = error_chart(
        [row(name, 2**k, 0.0, bias) for name, k, bias in sorted(found)], "bias", size
    )
    assert chart is not None
    for line in chart["lines"]:
        for point in line["points"]:
            assert chart["left"] <= point["x"] <= chart["right"]
            assert chart["top"] - 0.01 <= point["y"] <= chart["bottom"] + 0.01
    for tick in chart["y_ticks"]:
        assert chart["top"] - 0.01 <= tick["at"] <= chart["bottom"] + 0.01
