"""Mean of rollouts: the label of a step is the mean return of the policy's samples after it.

Math-Shepherd (arXiv 2312.08935), soft estimation: the share of the completions
from a step that reach the answer; here each counts gamma^(T - t), which the paper has not. It is
the value of the policy itself, Q^pi, and so a lower bound of Q* even with endless samples.

The samples of (s_t, a_t) are the rollouts through it and the paths of the pool ``states`` whose
given steps end with a_t or before it. A path that was given more steps than t followed another
path from t on, and would count its branch twice. They are independent samples of the policy after
a_t, so the interval is one of its success rate; a pool that draws more where the interval is wide
stops by what it saw, which biases the mean a little.

Worked example, gamma = 0.5. Rollouts: (a, b) correct, (a, c) wrong, (d, e) wrong; from the pool:
(a, f, b) correct, given a, and (a, c) wrong, given a and c. y(a) = (0.5 + 0 + 0.25) / 3 = 0.25
from n = 3 with 2 successes (not 4: the last path was given c); y(b) = 1; y(c) = 0 from n = 2.
"""

from __future__ import annotations

import polars as pl

from qstar_core.labels.steps import (
    ON_POLICY,
    by_action,
    label_rows,
    returns,
    sampled_after,
    steps_of,
)


def mean_of_rollouts(paths: pl.LazyFrame, gamma: float) -> pl.LazyFrame:
    """Labels every step of every rollout with the mean return of the policy after it.

    Args:
        paths: rollouts and pools (`qstar_core.rollouts.paths.PATHS`) of whole problems.
        gamma: discount per step, in (0, 1].

    Returns:
        Rows of `qstar_core.labels.schema.SCHEMA`; y in [0, 1].
    """
    steps = sampled_after(steps_of(paths, ON_POLICY))
    actions = by_action(steps, returns(gamma).mean())
    return label_rows(paths, actions, "mean_of_rollouts", gamma)
