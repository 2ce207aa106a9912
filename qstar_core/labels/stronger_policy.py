"""Stronger policy: the label of a step is what another policy makes of the state after it.

Q* (arXiv 2406.14283), section 3.2, completion by a stronger LLM:

    y(s_t, a_t) = R(s_t, a_t) + the return of the stronger policy's completion from s_(t+1).

Each path of the pool ``stronger`` that was given a_1 .. a_t and nothing more is a completion from
s_(t+1); its return is gamma^(T - t) [correct], T the length of the completed path. The paper takes
one completion; of several we take the best or the mean (``reduce``). It is the value of another
policy after the step, so it can be above what the run's own policy reaches and is still a lower
bound of Q*. It may be 0 where a rollout through the step is correct, so that y falls to 0 and rises
again along a trajectory: rollouts say nothing here of a step that has completions.

A step without a completion has the best return of the rollouts through it: at t = T that is the
terminal reward, and before it only where the pool left the state out.

Worked example, gamma = 0.5. Rollouts: (a, b) wrong, (c, d) correct. Completions of a: (a, e)
correct, (a, f) wrong; of c: (c, g, h) correct. With max: y(a) = 0.5 from n = 2 with 1 success,
y(b) = 0, y(c) = 0.25 from n = 1, y(d) = 1. With mean: y(a) = 0.25.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from qstar_core.labels.best_of_rollouts import best_by_action
from qstar_core.labels.steps import ROOT, by_action, label_rows, returns, steps_of

SOURCE = "stronger"


def stronger_policy(
    paths: pl.LazyFrame, gamma: float, reduce: Literal["max", "mean"] = "max"
) -> pl.LazyFrame:
    """Labels every step of every rollout with a stronger policy's completions of the state after.

    Args:
        paths: rollouts and pools (`qstar_core.rollouts.paths.PATHS`) of whole problems.
        gamma: discount per step, in (0, 1].
        reduce: what is taken of several completions.

    Returns:
        Rows of `qstar_core.labels.schema.SCHEMA`; y in [0, 1].
    """
    completed = steps_of(paths, [SOURCE]).filter(pl.col("prefix_steps") == pl.col("step_index"))
    seen = returns(gamma).max() if reduce == "max" else returns(gamma).mean()
    columns = ("y", "n_samples", "successes")
    actions = (
        best_by_action(paths, [ROOT], gamma)
        .join(by_action(completed, seen), on="action_id", how="left", suffix="_completed")
        .select("action_id", *(pl.coalesce(f"{name}_completed", name) for name in columns))
        .rename({f"{name}_completed": name for name in columns})
    )
    return label_rows(paths, actions, "stronger_policy", gamma, {"reduce": reduce})
