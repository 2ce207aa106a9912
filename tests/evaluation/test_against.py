from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.evaluation.against import changes, compare_runs, summary

DIFFERENCES = [{"field": "labels.method", "this": "soft", "other": "best_of_rollouts"}]


def run(solved: dict[str, list[bool]], first: int = 0) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "problem_id": f"p{first + number}",
                "method": method,
                "outcome": "correct" if flag else "wrong",
                "policy_tokens": 100,
            }
            for method, flags in solved.items()
            for number, flag in enumerate(flags)
        ]
    )


def test_a_clear_change_is_said_with_its_size_and_what_differs() -> None:
    this, other = run({"A*": [True] * 40 + [False] * 10}), run({"A*": [False] * 30 + [True] * 20})
    [row] = compare_runs(this, other, resamples=500)
    assert (row["better"], row["worse"], row["verdict"]) == (30, 10, "better")
    assert row["difference"] == pytest.approx(0.4)
    [said, what] = summary([row], DIFFERENCES)
    assert (
        "A*: 40.0 % before, 80.0 % now; 30 problems won and 10 lost: significantly better" in said
    )
    assert what == "What differs: labels.method: best_of_rollouts \N{RIGHTWARDS ARROW} soft."


def test_p_is_adjusted_over_the_methods() -> None:
    flags = [True] * 6 + [False] * 20, [False] * 26
    one = compare_runs(run({"a": flags[0]}), run({"a": flags[1]}), resamples=200)
    names = "abcde"
    many = compare_runs(
        run(dict.fromkeys(names, flags[0])), run(dict.fromkeys(names, flags[1])), resamples=200
    )
    assert one[0]["verdict"] == "better" and one[0]["p_value"] < 0.05
    assert {row["verdict"] for row in many} == {"not significant"}
    assert many[0]["p_value"] == pytest.approx(5 * one[0]["p_value"])


def test_runs_without_common_methods_or_problems_are_said_so() -> None:
    rows = compare_runs(run({"a": [True]}), run({"b": [True]}))
    assert rows == [] and "no method in common" in summary(rows, [])[0]
    rows = compare_runs(run({"a": [True]}), run({"a": [True]}, first=9))
    assert rows[0]["pairs"] == 0 and "no problem in common" in summary(rows, [])[0]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_the_problems_are_those_that_are_counted(pairs: list[tuple[bool, bool]]) -> None:
    this, other = run({"a": [p[0] for p in pairs]}), run({"a": [p[1] for p in pairs]})
    [row] = compare_runs(this, other, resamples=100)
    found = [each["a"] for each in changes(this, other).values()]
    assert (found.count(1), found.count(-1)) == (row["better"], row["worse"])
    [back] = compare_runs(other, this, resamples=100)
    assert (back["better"], back["worse"]) == (row["worse"], row["better"])


def test_nothing_that_differs_is_said() -> None:
    rows = compare_runs(run({"a": [True]}), run({"a": [True]}), resamples=100)
    assert "no significant change" in summary(rows, [])[0]
    assert summary(rows, [])[-1] == "Nothing in the configuration differs."
    assert "and 2 more fields" in summary(rows, DIFFERENCES * 5)[-1]
