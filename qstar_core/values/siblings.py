"""How well a value model chooses among siblings, the actions that were seen in one state.

A search takes, of the actions that the policy proposes in a state, the one with the largest Q.
What that loses is the regret of the state

    max over a of v(s, a) - v(s, argmax over a of Q(s, a))

with v the label y or the exact Q*. An AUC over all steps may be high because the model tells easy
problems from hard ones; regret and rank correlation among siblings do not see that.

1. Distinct actions count once each, however often the policy sampled them. Where an action has
   several values (the policy ended the text after it in one trajectory only), they are averaged.
2. Among equal Q the choice is at random: the mean of v over them.
3. States with one action, and those whose actions are all worth the same, are left out and
   counted: nothing can be lost there.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from qstar_core.values.intervals import intervals
from qstar_core.values.metrics import Array, mean

TIES = 1e-9  # values and scores closer than this are equal
FIGURES = ("regret", "regret_random", "best", "spearman")


def states(predictions: pl.DataFrame, value: str) -> pl.DataFrame:
    """One row per state, with what a choice by q loses there.

    Args:
        predictions: columns problem_id, state_id, action_id, step_index, n_steps, q, and the value.
        value: name of the column that says what an action is worth, ``y`` or ``q_star``.

    Returns:
        problem_id, state_id, step_index, final (whether every action ends its trajectory), actions,
        equal (whether all are worth the same), and, null where it is or there is one action:
        regret (in value units), regret_random (that of a random choice), best (how likely the
        choice is a best one), spearman (rank correlation of q and value, 0 where q are all equal).
    """
    last = pl.col("step_index") == pl.col("n_steps")
    by_action = predictions.group_by(
        "problem_id", "state_id", "step_index", "action_id", maintain_order=True
    ).agg(pl.col("q").mean(), pl.col(value).mean().alias("v"), last.all().alias("last"))
    q, v = pl.col("q"), pl.col("v")
    chosen, top = v.filter(q >= q.max() - TIES), v.max()
    ranks = pl.corr(q.rank(), v.rank())
    found = by_action.group_by("problem_id", "state_id", "step_index", maintain_order=True).agg(
        final=pl.col("last").all(),
        actions=pl.len(),
        equal=(top - v.min()) <= TIES,
        regret=top - chosen.mean(),
        regret_random=top - v.mean(),
        best=(chosen >= top - TIES).mean(),
        spearman=ranks.fill_nan(0.0).fill_null(0.0),
    )
    counts = ~pl.col("equal") & (pl.col("actions") > 1)
    return found.with_columns(pl.when(counts).then(pl.col(*FIGURES)))


def figures(found: pl.DataFrame) -> dict[str, Any]:
    """The figures of some states, each counting once.

    Args:
        found: rows of `states`.

    Returns:
        states (that count), single and equal (those left out: with one action, or with actions all
        worth the same), regret, regret_random, best and spearman (None without a state that
        counts), intervals (95 %, clustered by problem, of these four).
    """
    single = found["actions"] == 1
    counted = found.drop_nulls("regret")
    columns = {name: counted[name].to_numpy() for name in FIGURES}

    def mean_of(column: Array) -> Any:
        return lambda weights: mean(column, weights)

    statistics = {name: mean_of(column) for name, column in columns.items()}
    known = len(counted) > 0
    return {
        "states": len(counted),
        "single": int(single.sum()),
        "equal": len(found) - len(counted) - int(single.sum()),
        **{n: round(mean(column), 6) if known else None for n, column in columns.items()},
        "intervals": intervals(statistics, counted["problem_id"].to_list()),
    }
