from __future__ import annotations

from typing import Any

import pytest

from qstar_core.evaluation.sweep_wording import (
    amount,
    cost_per_thousand,
    family,
    held_back,
    overran,
    reach_sentence,
    summary,
    unanswered,
)


def row(method: str, budget: float, verdict: str) -> dict[str, Any]:
    algorithm = "astar" if method == "A*" else "best_of_n"
    p = None if verdict == "baseline" else 0.01
    head = {"method": method, "algorithm": algorithm, "budget": budget, "verdict": verdict}
    outcomes = {"correct": 20, "wrong": 10, "no_answer": 0}
    return {**head, "p_value": p, "n": 30, "policy_tokens": 0.95 * budget, "outcomes": outcomes}


def reached(method: str, budget: float | None, target: float = 800.0) -> dict[str, Any]:
    figures = {"accuracy": 0.74, "difference": 0.016, "policy_tokens": 190.0}
    figures |= {"difference_low": -0.012, "difference_high": 0.044}
    head = {"method": method, "target_budget": target, "target": 0.724, "budget": budget}
    return {**head, **(figures if budget is not None else dict.fromkeys(figures))}


BASE = [row("best-of-N", 200, "baseline"), row("best-of-N", 800, "baseline")]
STAR = [row("A*", 200, "not significant"), row("A*", 800, "better")]


@pytest.mark.parametrize(
    ("budget", "unit", "said"),
    [
        (800.0, "tokens", "800 policy tokens"),
        (12800.0, "", "12,800"),
        (0.25, "seconds", "0.25 seconds"),
        (2.0, "seconds", "2 seconds"),
    ],
)
def test_amounts(budget: float, unit: str, said: str) -> None:
    assert amount(budget, unit) == said


def test_the_headline_is_the_smallest_budget_that_is_enough() -> None:
    assert reach_sentence(reached("A*", 200.0), "best-of-N", "tokens") == (
        "A* reaches the accuracy of best-of-N at 800 policy tokens (72.4 %) with 200, "
        "4.0 times fewer: 74.0 %, a difference of +1.6 percentage points "
        "(95 % interval \N{MINUS SIGN}1.2 to +4.4)."
    )
    no_less = reach_sentence(reached("A*", 800.0), "best-of-N", "tokens")
    assert "(72.4 %) with the same budget: 74.0 %" in no_less and "fewer" not in no_less
    more = reach_sentence(reached("A*", 800.0, target=200.0), "best-of-N", "tokens")
    assert "at 200 policy tokens (72.4 %) with 800, 4.0 times as many: 74.0 %" in more
    never = reach_sentence(reached("A*", None), "best-of-N", "tokens")
    assert never.startswith("A* does not reach the accuracy of best-of-N at 800 policy tokens")


def test_the_summary_speaks_of_astar_and_names_one_that_needs_less_as_picked() -> None:
    rows = [reached("beam", 100.0), reached("A*", 200.0), reached("A*", 100.0, target=200.0)]
    said = summary([*BASE, *STAR], rows, "tokens")
    assert said[0].startswith("A* reaches") and "with 200" in said[0]
    assert said[1] == (
        "The smallest budget of all is that of beam, 100 (picked after the fact from 2 methods)."
    )
    assert said[2] == (
        "Compared with best-of-N at the same budget, A* is better at 800; "
        "not significantly different at 200."
    )
    assert len(summary([*BASE, *STAR], rows[1:], "tokens")) == 2


def test_nothing_to_compare() -> None:
    assert summary([], [], "tokens") == ["No problem was searched, so there is nothing to compare."]
    [said] = summary(BASE, [], "tokens")
    assert "No other method" in said


def test_a_baseline_that_ends_by_itself_is_named_as_held_back() -> None:
    """best-of-N with its default of 6 rollouts never spends 800 tokens."""
    rows = [{**BASE[0], "policy_tokens": 197.0}, {**BASE[1], "policy_tokens": 198.2}, *STAR]
    said = (
        "best-of-N, the baseline, spends 198 of 800 policy tokens; others may spend more, "
        "unless its n is larger."
    )
    assert held_back(rows, "tokens") == [said]
    assert said in summary(rows, [reached("A*", 200.0)], "tokens")
    greedy = [{**each, "algorithm": "greedy"} for each in rows]
    assert held_back(greedy, "tokens")[0].endswith("; others may spend more.")
    assert held_back(rows, "seconds") == []
    assert held_back([*BASE, *STAR], "tokens") == []
    assert held_back([], "tokens") == []


@pytest.mark.parametrize(
    ("seconds", "unit", "marked"),
    [
        (3.0, "seconds", False),
        (3.2, "seconds", False),
        (3.5, "seconds", True),
        (9.0, "tokens", False),
    ],
)
def test_more_than_a_tenth_over_the_seconds_is_an_overrun(
    seconds: float, unit: str, marked: bool
) -> None:
    """0.1 seconds for each of 30 problems."""
    assert overran({**row("A*", 0.1, "better"), "seconds": seconds}, unit) is marked


def test_the_family_is_stated() -> None:
    assert "all 2 comparisons of this sweep" in family([*BASE, *STAR], "holm")
    assert "not adjusted" in family([*BASE, *STAR], "none")


def test_the_cost_is_that_of_a_thousand_problems() -> None:
    assert cost_per_thousand({"policy_tokens": 400.0}, 0.5) == pytest.approx(0.2)
    assert cost_per_thousand({"policy_tokens": 400.0}, None) is None


def test_budgets_that_were_too_small_are_named() -> None:
    rows = [row("best-of-N", 100, "baseline"), row("A*", 100, "worse"), row("A*", 200, "better")]
    assert unanswered(rows) == []
    rows[1]["outcomes"] = {"correct": 0, "no_answer": 30}
    rows[2]["outcomes"] = {"correct": 24, "no_answer": 6}
    assert unanswered(rows) == [
        "The budget ended before any answer was there at 100 in all searches of A*; "
        "at 200 in 6 of 30 of A*."
    ]
    rows[2]["outcomes"] = {"correct": 25, "no_answer": 5}
    assert "200" not in unanswered(rows)[0]


def test_methods_whose_budget_was_too_small_are_said_once_a_budget() -> None:
    """Every tree search of a long table fails at its smallest budget."""
    rows = [row(method, 100, "worse") for method in ("beam", "DVTS", "A*", "MCTS")]
    for at, without in zip(rows, (30, 30, 29, 28), strict=True):
        at["outcomes"] = {"correct": 30 - without, "no_answer": without}
    assert unanswered(rows) == [
        "The budget ended before any answer was there at 100 "
        "in all searches of beam and DVTS and in 29 of 30 of A* and 28 of 30 of MCTS."
    ]
