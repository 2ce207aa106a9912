"""What a sweep of budgets shows, in plain sentences for the report and the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qstar_core.evaluation import wording
from qstar_core.evaluation.wording import number, percent, points

Row = Mapping[str, Any]

UNANSWERED = 0.2  # share of searches without an answer from which on it is said
OVERRUN = 0.1
"""Share of a budget of seconds; a limit is noticed between two answers of the models."""
OVERRAN = f"took over {100 * OVERRUN:.0f} % more seconds than the budget"
HELD_BACK = 0.9
"""Share of its largest budget of tokens that a baseline spends, below which that is said."""
DRAWING = ("best_of_n", "self_consistency")
"""Algorithms that draw rollouts until they have n."""
UNITS = {"tokens": "policy tokens", "seconds": "seconds"}


def amount(budget: float, unit: str = "") -> str:
    """A budget as it is printed: thousands separated, no more decimals than it has."""
    text = f"{budget:,.0f}" if budget == int(budget) else f"{budget:,g}"
    return f"{text} {UNITS[unit]}" if unit else text


def cost_per_thousand(row: Row, price: float | None) -> float | None:
    """What the policy tokens of 1,000 problems cost.

    Args:
        row: with policy_tokens, the mean per problem.
        price: of a million tokens, in any currency; None is not known.
    """
    return None if price is None else row["policy_tokens"] * 1000 * price / 1e6


def overran(row: Row, unit: str) -> bool:
    """Whether searches took more machine seconds than their budget, by more than `OVERRUN`.

    Args:
        row: of `qstar_core.evaluation.sweep.sweep`.
        unit: of its budget; tokens are never exceeded.
    """
    return unit == "seconds" and bool(row["seconds"] > (1 + OVERRUN) * row["budget"] * row["n"])


def family(rows: Sequence[Row], correction: str) -> str:
    """Which p-values were adjusted, and how."""
    count = sum(row["p_value"] is not None for row in rows)
    if correction == "none":
        return f"p-values are not adjusted for the number of comparisons ({count})"
    return f"p-values are Holm-adjusted over all {count} comparisons of this sweep"


def summary(rows: Sequence[Row], reached: Sequence[Row], unit: str) -> list[str]:
    """The result of a sweep: equal accuracy first, then equal budgets.

    The method that is spoken of is the first A*, else the first that is not the baseline; never
    the one with the best figures. Another that does with less is named as what it is, a choice
    after the fact.

    Args:
        rows: of `qstar_core.evaluation.sweep.sweep`.
        reached: of `qstar_core.evaluation.sweep.reach`.
        unit: ``tokens`` or ``seconds``.
    """
    base, best = wording.baseline(rows), wording.headline(rows)
    if base is None:
        return ["No problem was searched, so there is nothing to compare."]
    if best is None:
        return ["No other method was run, so there is nothing to compare."]
    largest = max(row["target_budget"] for row in reached)
    final = [row for row in reached if row["target_budget"] == largest]
    own = next(row for row in final if row["method"] == best["method"])
    others = [row for row in final if row is not own and row["budget"] is not None]
    said = [reach_sentence(own, str(base["method"]), unit)]
    fewest = min(others, key=lambda row: float(row["budget"]), default=None)
    if fewest and (own["budget"] is None or fewest["budget"] < own["budget"]):
        said.append(
            f"The smallest budget of all is that of {fewest['method']}, "
            f"{amount(fewest['budget'])} (picked after the fact from {len(final)} methods)."
        )
    own_rows = [row for row in rows if row["method"] == best["method"]]
    said.append(_at_equal_budgets(own_rows, base))
    return [*said, *held_back(rows, unit), *unanswered(rows)]


def held_back(rows: Sequence[Row], unit: str) -> list[str]:
    """Whether the baseline leaves much of its largest budget, which the others may spend.

    Args:
        rows: of `qstar_core.evaluation.sweep.sweep`.
        unit: of their budgets; in seconds nothing tells what a method was allowed to spend.
    """
    own = [row for row in rows if row["verdict"] == "baseline"]
    last = max(own, key=lambda row: float(row["budget"]), default=None)
    if unit != "tokens" or last is None or last["policy_tokens"] >= HELD_BACK * last["budget"]:
        return []
    said = (
        f"{last['method']}, the baseline, spends {last['policy_tokens']:,.0f} of "
        f"{amount(last['budget'], unit)}; others may spend more"
    )
    return [f"{said}, unless its n is larger." if last["algorithm"] in DRAWING else f"{said}."]


def unanswered(rows: Sequence[Row]) -> list[str]:
    """Which methods had a budget too small to finish anything, so that 0 % is no surprise."""
    found: dict[float, tuple[list[str], list[str]]] = {}
    for row in rows:
        without = row["outcomes"].get("no_answer", 0)
        if without >= UNANSWERED * row["n"]:
            whole, part = found.setdefault(row["budget"], ([], []))
            if without == row["n"]:
                whole.append(row["method"])
            else:
                part.append(f"{without} of {row['n']} of {row['method']}")
    said = []
    for budget, (whole, part) in found.items():
        groups = [f"in all searches of {_listed(whole)}"] if whole else []
        groups += [f"in {_listed(part)}"] if part else []
        said.append(f"at {amount(budget)} {' and '.join(groups)}")
    return [f"The budget ended before any answer was there {'; '.join(said)}."] if said else []


def reach_sentence(row: Row, baseline: str, unit: str) -> str:
    """How small a budget gives a method the baseline's accuracy at a larger one.

    Args:
        row: of `qstar_core.evaluation.sweep.reach`.
        baseline: its name.
        unit: ``tokens`` or ``seconds``.
    """
    target = f"the accuracy of {baseline} at {amount(row['target_budget'], unit)}"
    share = f"({percent(row['target'])} %)"
    if row["budget"] is None:
        return f"{row['method']} does not reach {target} {share} within this sweep."
    least = _beside(row["budget"], row["target_budget"])
    text = f"{row['method']} reaches {target} {share} with {least}"
    interval = f"{points(row['difference_low'])} to {points(row['difference_high'])}"
    return (
        f"{text}: {percent(row['accuracy'])} %, a difference of {points(row['difference'])} "
        f"percentage points (95 % interval {interval})."
    )


def _beside(budget: float, target: float) -> str:
    """A budget compared with the one whose accuracy it reaches."""
    if budget == target:
        return "the same budget"
    if budget < target:
        return f"{amount(budget)}, {number(target / budget, 1)} times fewer"
    return f"{amount(budget)}, {number(budget / target, 1)} times as many"


def _at_equal_budgets(rows: Sequence[Row], base: Row) -> str:
    """In how many budgets a method is better or worse than the baseline with the same."""
    parts = []
    for verdict in ("better", "worse", "not significant"):
        found = [amount(row["budget"]) for row in rows if row["verdict"] == verdict]
        if found:
            said = "not significantly different" if verdict == "not significant" else verdict
            parts.append(f"{said} at {_listed(found)}")
    name, method = base["method"], rows[0]["method"]
    return f"Compared with {name} at the same budget, {method} is {'; '.join(parts)}."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
