"""Best of rollouts: the label of a step is the best return seen after it.

Q* paper (arXiv 2406.14283), section 3.2, "learning from rollout": with R = 1 only on a correct
last step,

    y(s_t, a_t) = R(s_t, a_t) + max over pooled continuations of sum over t' > t of
                  gamma^(t' - t) R(s_t', a_t')  =  max over the pool of gamma^(T - t) [correct].

The pool of (s_t, a_t) is every stored rollout that passes through it: rollouts that share a
prefix share their continuations, so all rows with one (state, action) carry one label.
The label never overestimates a return that was seen; it is a lower bound of Q*, and its only
error is a false negative where no rollout happened to succeed.

Worked example, gamma = 0.5. Three rollouts of one problem: (a, b) correct, (a, c) wrong, (d, e)
wrong. y(a) = 0.5 from n = 2 with 1 success; y(b) = 1; y(c) = y(d) = y(e) = 0.
"""

from __future__ import annotations

import polars as pl

Z95 = 1.959963984540054


def best_of_rollouts(rollouts: pl.LazyFrame, gamma: float) -> pl.LazyFrame:
    """Labels every step of every rollout.

    Args:
        rollouts: rows of `qstar_core.rollouts.sample.SCHEMA`; whole problems, since the pool of
            a step must be complete.
        gamma: discount per step, in (0, 1].

    Returns:
        One row per rollout and step (`step_index` from 1 to `n_steps`), in the order of the
        rollouts; `y` in [0, 1]; `n_samples` rollouts and `successes` behind the label with the
        95 % Wilson interval of the success rate, `success_low` to `success_high`.
    """
    step = pl.col("steps").struct
    steps = (
        rollouts.with_columns(step_index=pl.int_ranges(1, pl.col("n_steps") + 1, dtype=pl.Int32))
        .explode("steps", "step_index")
        .with_columns(
            correct=pl.col("outcome") == "correct",
            action=step.field("text"),
            action_tokens=step.field("tokens"),
            action_logprob=step.field("logprob"),
            ended=step.field("ended"),
            state_id=step.field("state_id"),
            action_id=step.field("action_id"),
        )
        .with_columns(
            seen_return=pl.when("correct")
            .then(pl.lit(gamma).pow(pl.col("n_steps") - pl.col("step_index")))
            .otherwise(0.0)
        )
    )
    pool = pl.col("action_id")
    n, k = pl.len().over(pool), pl.col("correct").sum().over(pool)
    labelled = steps.with_columns(
        y=pl.col("seen_return").max().over(pool),
        n_samples=n.cast(pl.Int32),
        successes=k.cast(pl.Int32),
        **_wilson(n, k),
    )
    return labelled.select(
        "problem_id",
        "rollout_id",
        "state_id",
        "action_id",
        "step_index",
        "n_steps",
        "action",
        "action_tokens",
        "action_logprob",
        "ended",
        "y",
        pl.lit(gamma).alias("gamma"),
        pl.lit("best_of_rollouts").alias("method"),
        "n_samples",
        "successes",
        "success_low",
        "success_high",
        "outcome",
        "grader",
        "grader_version",
        "policy",
        "split",
    )


def _wilson(n: pl.Expr, k: pl.Expr) -> dict[str, pl.Expr]:
    """Bounds of the 95 % Wilson score interval of k successes in n > 0 trials."""
    rate = k / n
    centre = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = (rate * (1 - rate) / n + Z95**2 / (4 * n * n)).sqrt() * Z95 / (1 + Z95**2 / n)
    return {
        "success_low": (centre - half).clip(0.0, 1.0),
        "success_high": (centre + half).clip(0.0, 1.0),
    }
