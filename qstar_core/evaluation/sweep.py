"""Compares search methods over a sweep of budgets: equal budgets, and equal accuracy.

Input is the table of searches with the column ``budget``: policy tokens, or seconds of the
machine per problem. Two questions are answered.

1. `sweep`: at each budget, which methods are better than the baseline with that same budget? All
   these comparisons are one family, and Holm's method keeps the chance of a single false "better"
   or "worse" in the whole sweep below 5 %. A sweep over tokens and one over seconds are two
   families.
2. `reach`: with how small a budget does a method have the accuracy that the baseline has with a
   large one? The budget is chosen by looking at the accuracies, so the interval given with it is a
   description, not a test of the family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from qstar_core.evaluation.compare import compare, paired, verdict
from qstar_core.evaluation.metrics import RESAMPLES, holm, wilson

Row = Mapping[str, Any]


def sweep(
    searches: pl.DataFrame,
    seconds: Mapping[tuple[str, float], float],
    baseline: str,
    correction: str = "holm",
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[dict[str, Any]]:
    """The table of methods at each budget.

    Args:
        searches: one row per method, budget and problem; the columns of `compare`, budget and
            first_correct.
        seconds: wall-clock seconds that each (method, budget) took for all its problems.
        baseline: the method that the others are compared with, at the same budget.
        correction: ``holm``, or ``none``, which leaves the p-values as they are.
        seed: of the bootstrap.
        resamples: bootstrap samples.

    Returns:
        The rows of `compare` by ascending budget with, beside them, budget, oracle, oracle_low,
        oracle_high (share of problems for which some generated trajectory was correct, and its 95 %
        Wilson interval) and p_adjusted (None where there is no p_value). The verdict goes by
        p_adjusted and the interval; the interval itself is not widened.

    Raises:
        ValueError: as `compare`.
    """
    rows: list[dict[str, Any]] = []
    for (budget,), part in searches.sort("budget", maintain_order=True).group_by(
        "budget", maintain_order=True
    ):
        spent = {method: s for (method, of), s in seconds.items() if of == budget}
        chances = {
            method: _oracle(own) for (method,), own in part.group_by("method", maintain_order=True)
        }
        for row in compare(part, spent, baseline, seed=seed, resamples=resamples):
            rows.append({"budget": budget, **row, **chances[row["method"]]})
    adjust(rows, correction)
    return rows


def adjust(rows: Sequence[dict[str, Any]], correction: str) -> None:
    """Sets p_adjusted and the verdict of rows that are one family of comparisons.

    Args:
        rows: of `compare`, changed in place; those without a p-value take no part.
        correction: ``holm`` or ``none``.
    """
    tested = [row for row in rows if row["p_value"] is not None]
    found = [row["p_value"] for row in tested]
    for row in rows:
        row["p_adjusted"] = None
    for row, p in zip(tested, holm(found) if correction == "holm" else found, strict=True):
        row["p_adjusted"] = p
        row["verdict"] = verdict(p, row["difference_low"], row["difference_high"])


def _oracle(part: pl.DataFrame) -> dict[str, float]:
    had = int(part["first_correct"].is_not_null().sum())
    low, high = wilson(had, len(part))
    return {"oracle": had / len(part), "oracle_low": low, "oracle_high": high}


def reach(
    searches: pl.DataFrame,
    rows: Sequence[Row],
    baseline: str,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[dict[str, Any]]:
    """How small a budget gives a method the accuracy of the baseline at each of its budgets.

    Args:
        searches: as in `sweep`.
        rows: of `sweep`.
        baseline: its name.
        seed: of the bootstrap.
        resamples: bootstrap samples.

    Returns:
        One row per other method and budget of the baseline, by that budget: method, algorithm,
        target_budget and target (the baseline's budget and accuracy there), target_tokens (policy
        tokens it spent there, mean per problem), budget (the smallest at which the method's
        accuracy is at least the target; None when none is), and then accuracy, policy_tokens,
        ratio (target_tokens / policy_tokens), pairs, difference, difference_low, difference_high,
        p_value and verdict of the method at its budget against the baseline at the target's; all
        None without a budget. p-values are not adjusted.
    """
    sets = dict(searches.group_by("method", "budget"))
    others: dict[str, list[Row]] = {}
    for row in rows:
        if row["method"] != baseline:
            others.setdefault(row["method"], []).append(row)
    found = []
    for target in (row for row in rows if row["method"] == baseline):
        for method, own in others.items():
            head = {
                "method": method,
                "algorithm": own[0]["algorithm"],
                "target_budget": target["budget"],
                "target": target["accuracy"],
                "target_tokens": target["policy_tokens"],
            }
            least = next((row for row in own if row["accuracy"] >= target["accuracy"]), None)
            there: dict[str, Any] = dict.fromkeys(REACHED)
            if least is not None:
                pair = sets[method, least["budget"]], sets[baseline, target["budget"]]
                there = _reached(least, target) | paired(*pair, seed, resamples)
            found.append({**head, **there})
    return found


def _reached(least: Row, target: Row) -> dict[str, Any]:
    """What a method spends where it has the accuracy of the target."""
    spent = {name: least[name] for name in ("budget", "accuracy", "policy_tokens")}
    ratio = target["policy_tokens"] / max(1e-9, least["policy_tokens"])
    return {**spent, "ratio": ratio}


REACHED = (
    "budget",
    "accuracy",
    "policy_tokens",
    "ratio",
    "pairs",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "verdict",
)
"""What a row of `reach` leaves empty when no budget is enough."""
