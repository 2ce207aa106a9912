"""One run against another: which problems each method won and lost, and whether that is chance.

Runs are paired by problem. The p-values of the methods are adjusted together (Holm), so that of
many methods one that differs by chance is not taken for a change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from qstar_core.evaluation.compare import COSTS, SOLVED, paired, verdict
from qstar_core.evaluation.metrics import RESAMPLES, holm, wilson
from qstar_core.evaluation.wording import percent, points

COLUMNS = ("problem_id", "method", "algorithm", "outcome", "prompt", *COSTS)
"""What is read of searches."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Against:
    """What became of a run since another one.

    Attributes:
        this: name and key of the run.
        other: name and key of the one it is held against.
        rows: of `compare_runs`.
        changes: by problem id and method, 1 for won and -1 for lost; problems without any are
            left out.
        summary: in sentences.
        differences: what differs in the configuration: field, this, other (texts).
        stages: data sets of both: stage, this, other (keys; empty where there is none) and same.
    """

    this: str
    other: str
    rows: Sequence[Row]
    changes: Mapping[str, Mapping[str, int]]
    summary: Sequence[str]
    differences: Sequence[Row]
    stages: Sequence[Row]

    @property
    def comparable(self) -> bool:
        """Whether some method of both runs has searched a problem in both."""
        return any(row["pairs"] for row in self.rows)


def compare_runs(
    this: pl.DataFrame, other: pl.DataFrame, seed: int = 0, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """The methods of two runs, each paired with itself.

    Args:
        this: searches of the run; columns problem_id, method, outcome and policy_tokens.
        other: likewise, of the run that is subtracted.
        seed: of the bootstrap; each comparison starts from it.
        resamples: bootstrap samples.

    Returns:
        Rows in the order of this run's methods: method, place (in that order), n and accuracy
        with its 95 % interval (low, high) of this run, other_n and other_accuracy, tokens and
        other_tokens (means per problem), better and worse (problems won and lost among those that
        both have), and pairs, difference, difference_low, difference_high, p_value (adjusted) and
        verdict as in `qstar_core.evaluation.compare.compare`. Methods that one run lacks are left
        out.
    """
    rows: list[dict[str, Any]] = []
    names = this["method"].unique(maintain_order=True).to_list()
    for place, name in enumerate(names):
        mine, its = (frame.filter(pl.col("method") == name) for frame in (this, other))
        if len(mine) and len(its):
            rows.append({"method": str(name), "place": place, **_pair(mine, its, seed, resamples)})
    tested = [row for row in rows if row["p_value"] is not None]
    for row, adjusted in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_value"] = adjusted
        row["verdict"] = verdict(adjusted, row["difference_low"], row["difference_high"])
    return rows


def _pair(mine: pl.DataFrame, its: pl.DataFrame, seed: int, resamples: int) -> dict[str, Any]:
    both = _solved(mine, "this").join(_solved(its, "other"), on="problem_id")
    correct, other = (int(frame.select(SOLVED.sum()).item()) for frame in (mine, its))
    low, high = wilson(correct, len(mine))
    tokens, other_tokens = (
        frame.select(pl.col("policy_tokens").mean()).item() for frame in (mine, its)
    )
    return {
        "n": len(mine),
        "accuracy": correct / len(mine),
        "low": low,
        "high": high,
        "other_n": len(its),
        "other_accuracy": other / len(its),
        "tokens": float(tokens),
        "other_tokens": float(other_tokens),
        "better": int(both.select((pl.col("this") & ~pl.col("other")).sum()).item()),
        "worse": int(both.select((~pl.col("this") & pl.col("other")).sum()).item()),
        **paired(mine, its, seed, resamples),
    }


def _solved(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.select("problem_id", SOLVED.alias(name))


def changes(this: pl.DataFrame, other: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Problems that a method won (1) or lost (-1) since the other run, by problem and method."""
    both = this.select("problem_id", "method", SOLVED.alias("this")).join(
        other.select("problem_id", "method", SOLVED.alias("other")), on=["problem_id", "method"]
    )
    found: dict[str, dict[str, int]] = {}
    changed = both.filter(pl.col("this") != pl.col("other"))
    for problem, method, won in changed.select("problem_id", "method", "this").iter_rows():
        found.setdefault(problem, {})[method] = 1 if won else -1
    return found


def summary(rows: Sequence[Row], differences: Sequence[Row]) -> list[str]:
    """What got better and worse, in sentences, and what differs.

    Args:
        rows: of `compare_runs`.
        differences: with field, this and other.
    """
    if not rows:
        return ["The runs have no method in common, so there is nothing to compare."]
    if not any(row["pairs"] for row in rows):
        return ["The runs have no problem in common, so there is nothing to compare."]
    said = [_sentence(row) for row in rows if row["pairs"]]
    if not differences:
        return [*said, "Nothing in the configuration differs."]
    arrow = "\N{RIGHTWARDS ARROW}"
    named = "; ".join(f"{d['field']}: {d['other']} {arrow} {d['this']}" for d in differences[:3])
    more = f" and {len(differences) - 3} more fields" if len(differences) > 3 else ""
    return [*said, f"What differs: {named}{more}."]


def _sentence(row: Row) -> str:
    before, now = percent(row["other_accuracy"]), percent(row["accuracy"])
    was = f"{row['method']}: {before} % before, {now} % now"
    counts = f"{row['better']:,} problems won and {row['worse']:,} lost"
    interval = f"95 % interval {points(row['difference_low'])} to {points(row['difference_high'])}"
    size = points(row["difference"])
    if row["verdict"] in ("better", "worse"):
        return f"{was}; {counts}: significantly {row['verdict']}, by {size} points ({interval})."
    return f"{was}; {counts}: no significant change ({size} points, {interval})."
