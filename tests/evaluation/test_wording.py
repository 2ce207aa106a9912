from __future__ import annotations

import math
from typing import Any

import pytest

from qstar_core.evaluation import wording
from qstar_core.evaluation.wording import MINUS, MISSING


def row(method: str, algorithm: str, verdict: str, **fields: Any) -> dict[str, Any]:
    return {
        "method": method,
        "algorithm": algorithm,
        "verdict": verdict,
        "n": 500,
        "correct": 335,
        "accuracy": 0.67,
        "policy_tokens": 398.2,
        "difference": None,
        "outcomes": {},
        **fields,
    }


BASE = row("best-of-N", "best_of_n", "baseline")


def astar(verdict: str, difference: float, low: float, high: float) -> dict[str, Any]:
    ends = {"difference": difference, "difference_low": low, "difference_high": high}
    return row("A*", "astar", verdict, correct=381, accuracy=0.762, **ends)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1234.5, 1, "1,234.5"),
        (-0.5, 2, f"{MINUS}0.50"),
        (-0.001, 2, "0.00"),
        (None, 2, MISSING),
        (math.nan, 2, MISSING),
        (math.inf, 2, "∞"),
        (-math.inf, 2, f"{MINUS}∞"),
        (7, 0, "7"),
    ],
)
def test_numbers(value: float | None, digits: int, text: str) -> None:
    assert wording.number(value, digits) == text


def test_percentages_and_points() -> None:
    assert wording.percent(0.7621) == "76.2"
    assert wording.percent(None) == MISSING
    assert [wording.points(d) for d in (0.092, -0.02, 0.0, None)] == [
        "+9.2",
        f"{MINUS}2.0",
        "0.0",
        MISSING,
    ]


def test_p_values() -> None:
    shown = [wording.p_value(p) for p in (0.0004, 0.0123, 0.5, 1.0, None, math.nan)]
    assert shown == ["< 0.001", "0.012", "0.50", "1.00", MISSING, MISSING]


def test_control_characters_are_made_visible() -> None:
    assert wording.visible("a\x00b\u202ec\td\n") == "a�b�c\td"


def test_a_gain_is_said() -> None:
    first, second = wording.summary([BASE, astar("better", 0.092, 0.056, 0.128)])
    assert first.startswith("A* solved 381 of 500 held-out problems (76.2 %) with 398 policy")
    assert "best-of-N solved 335 (67.0 %)" in first
    assert second == (
        "That is a significant gain of 9.2 percentage points over best-of-N "
        "(95 % interval +5.6 to +12.8)."
    )


def test_no_gain_is_said_plainly() -> None:
    [_, second] = wording.summary([BASE, astar("not significant", 0.008, -0.02, 0.036)])
    assert second == (
        "That is no significant gain over best-of-N: the difference is +0.8 percentage points "
        f"(95 % interval {MINUS}2.0 to +3.6)."
    )


def test_a_loss_is_said_plainly() -> None:
    [_, second] = wording.summary([BASE, astar("worse", -0.05, -0.08, -0.02)])
    assert second.startswith("That is significantly worse than best-of-N, by 5.0 percentage")


def test_summaries_without_a_comparison() -> None:
    assert wording.summary([]) == ["No problem was searched, so there is nothing to compare."]
    assert wording.summary([BASE])[1].startswith("No other method was run")
    apart = row("A*", "astar", "not significant")
    assert "No problem was searched by both" in wording.summary([BASE, apart])[1]


def test_the_headline_is_the_first_astar_not_the_best() -> None:
    greedy = row("greedy", "greedy", "worse")
    weak, strong = row("A* edge", "astar", "worse"), row("A* look", "astar", "better")
    assert wording.headline([greedy, BASE, weak, strong]) is weak
    assert wording.headline([greedy, BASE]) is greedy
    assert wording.headline([BASE]) is None


def test_failures_are_named() -> None:
    failed = row("A*", "astar", "worse", outcomes={"timeout": 2, "search_error": 1, "wrong": 9})
    assert wording.failures([BASE, failed]) == ["A*: 2 timeout, 1 search error of 500"]
