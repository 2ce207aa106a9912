"""Fitted Q iteration: the target of a step is the best value of the next state's stored actions.

Q* paper (arXiv 2406.14283, eq. 5): with R = 1 only on a correct last step,

    y(s_t, a_t) = R(s_t, a_t) if t = T, else gamma * max over a in the top K of s_(t+1) of
                  Q_(l-1)(s_(t+1), a).

The top K are the first K distinct actions that are stored for s_(t+1). Q_0 = 0: the labels of the
first round are the reward at the end of a trajectory and 0 elsewhere.
"""

from __future__ import annotations

import polars as pl

from qstar_core.labels.best_of_rollouts import best_of_rollouts


def fitted_q(
    paths: pl.LazyFrame, gamma: float, values: pl.LazyFrame, candidates: int | None = None
) -> pl.LazyFrame:
    """Labels every step of every rollout.

    Args:
        paths: whole problems.
        gamma: discount per step, in (0, 1].
        values: action_id and value, Q of the round before; one that is missing counts as 0.
        candidates: K; None is all that are stored.
    """
    best = (
        candidate_actions(paths, candidates)
        .join(values, on="action_id", how="left", maintain_order="left")
        .group_by("state_id")
        .agg(best=pl.col("value").max())
        .rename({"state_id": "next_id"})
    )
    labelled = best_of_rollouts(paths, gamma)
    following = pl.col("state_id").shift(-1).over("rollout_id")
    reward = (pl.col("outcome") == "correct").cast(pl.Float64)
    return (
        labelled.with_columns(next_id=following)
        .join(best, on="next_id", how="left", maintain_order="left")
        .with_columns(
            y=pl.when(pl.col("step_index") == pl.col("n_steps"))
            .then(reward)
            .otherwise(gamma * pl.col("best").fill_null(0.0)),
            method=pl.lit("fitted_q"),
        )
        .drop("next_id", "best")
    )


def candidate_actions(paths: pl.LazyFrame, candidates: int | None = None) -> pl.LazyFrame:
    """The actions whose values `fitted_q` asks: state_id and action_id, in stored order."""
    step = pl.col("steps").struct
    stored = (
        paths.explode("steps")
        .select(state_id=step.field("state_id"), action_id=step.field("action_id"))
        .unique(maintain_order=True)
    )
    if candidates is None:
        return stored
    return stored.filter(pl.int_range(pl.len()).over("state_id") < candidates)
