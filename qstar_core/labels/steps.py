"""What the methods share: paths to steps, statistics by action, the rows of the labels.

*Paths* are whole trajectories: the rollouts from the problem, and those of the pools, which begin
with steps that were given. All of them name states and actions by content, so a path passes
through (s_t, a_t) where its t-th action has that id, whatever made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from qstar_core.keys import canonical_json
from qstar_core.labels.schema import SCHEMA

Z95 = 1.959963984540054
ROOT = "rollouts"
"""Source of the rollouts from the problem itself; these are what is labelled."""
ON_POLICY = (ROOT, "states")
"""Sources of samples of the policy whose number does not depend on where the answer lies."""
_OF_STEPS = {
    "action": "text",
    "action_tokens": "tokens",
    "action_logprob": "logprob",
    "ended": "ended",
    "state_id": "state_id",
    "action_id": "action_id",
}


def as_paths(rollouts: pl.LazyFrame) -> pl.LazyFrame:
    """Rollouts as paths without a pool."""
    return rollouts.with_columns(source=pl.lit(ROOT), prefix_steps=pl.lit(0, dtype=pl.Int32))


def steps_of(paths: pl.LazyFrame, sources: Sequence[str]) -> pl.LazyFrame:
    """The steps of the paths of some sources, with what a label may depend on.

    Returns:
        One row per path and step, in order: state_id, action_id, step_index (from 1), n_steps,
        prefix_steps, correct.
    """
    step = pl.col("steps").struct
    return (
        _numbered(paths.filter(pl.col("source").is_in(sources)))
        .select("steps", "step_index", "n_steps", "prefix_steps", correct=_correct())
        .explode("steps", "step_index")
        .select(
            "step_index",
            "n_steps",
            "prefix_steps",
            "correct",
            state_id=step.field("state_id"),
            action_id=step.field("action_id"),
        )
    )


def sampled_after(steps: pl.LazyFrame) -> pl.LazyFrame:
    """Steps behind which a path was sampled, not given.

    A given step was chosen by another path; to count its branch among the samples of an earlier
    step would count that path twice.
    """
    return steps.filter(pl.col("prefix_steps") <= pl.col("step_index"))


def returns(gamma: float) -> pl.Expr:
    """gamma^(T - t) on a correct path, else 0: what is seen to follow from a step, discounted."""
    if gamma == 1.0:
        return pl.col("correct").cast(pl.Float64)
    discounted = pl.lit(gamma).pow(pl.col("n_steps") - pl.col("step_index"))
    return pl.when("correct").then(discounted).otherwise(0.0)


def by_action(steps: pl.LazyFrame, y: pl.Expr) -> pl.LazyFrame:
    """One row per action: its label and the paths behind it.

    Args:
        steps: of `steps_of`, those that count.
        y: the label, an aggregation of their columns.
    """
    return steps.group_by("action_id").agg(
        y=y,
        n_samples=pl.len().cast(pl.Int32),
        successes=pl.col("correct").sum().cast(pl.Int32),
    )


def label_rows(
    paths: pl.LazyFrame,
    actions: pl.LazyFrame,
    method: str,
    gamma: float,
    parameters: Mapping[str, Any] | None = None,
) -> pl.LazyFrame:
    """The rows of a label table: every step of every rollout with the label of its action.

    Args:
        paths: the rollouts, and paths of pools.
        actions: action_id, y, n_samples and successes of every action of the rollouts.
        method: name of the method.
        gamma: discount per step.
        parameters: the method's own.

    Returns:
        The columns of `SCHEMA`, in the order of the rollouts and their steps.
    """
    step = pl.col("steps").struct
    rows = (
        _numbered(paths.filter(pl.col("source") == ROOT))
        .explode("steps", "step_index")
        .with_columns(**{name: step.field(field) for name, field in _OF_STEPS.items()})
        .drop("steps")
    )
    n, k = pl.col("n_samples"), pl.col("successes")
    constant = {
        "gamma": pl.lit(gamma),
        "method": pl.lit(method),
        "parameters": pl.lit(canonical_json(dict(parameters or {}))),
    }
    found = actions.with_columns(**wilson(n, k))
    return (
        rows.join(found, on="action_id", how="left", maintain_order="left")
        .with_columns(**constant)
        .select(SCHEMA.names)
    )


def wilson(n: pl.Expr, k: pl.Expr) -> dict[str, pl.Expr]:
    """Bounds of the 95 % Wilson score interval of k successes in n > 0 trials."""
    rate = k / n
    centre = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = (rate * (1 - rate) / n + Z95**2 / (4 * n * n)).sqrt() * Z95 / (1 + Z95**2 / n)
    return {
        "success_low": (centre - half).clip(0.0, 1.0),
        "success_high": (centre + half).clip(0.0, 1.0),
    }


def _numbered(paths: pl.LazyFrame) -> pl.LazyFrame:
    """Paths with at least one step, and the numbers of their steps as a list."""
    return paths.filter(pl.col("n_steps") > 0).with_columns(
        step_index=pl.int_ranges(1, pl.col("n_steps") + 1, dtype=pl.Int32)
    )


def _correct() -> pl.Expr:
    return pl.col("outcome") == "correct"
