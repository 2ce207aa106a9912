"""Soft maximum: between the mean and the best return of the policy's samples.

    y(s_t, a_t) = eta * ln mean exp(R / eta),   R the returns gamma^(T - t) [correct]

over the samples of `mean_of_rollouts`. It is the value of KL-regularised control with weight eta
(the free energy of the returns): eta -> 0 gives the best return, eta -> infinity the mean. It
grows with every sample that succeeds, as the mean does, and one success in many counts for more.

It is computed as m + eta * ln mean exp((R - m) / eta) with m the largest return, which neither
overflows nor vanishes for a small eta.

Worked example, gamma = 0.5, eta = 0.5. Rollouts: (a, b) correct, (a, c) wrong. R(a) is 0.5 and 0:
y(a) = 0.5 ln((e^1 + e^0) / 2) = 0.310; y(b) = 1; y(c) = 0. The mean is 0.25, the best return 0.5.
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


def soft(paths: pl.LazyFrame, gamma: float, eta: float) -> pl.LazyFrame:
    """Labels every step of every rollout with the soft maximum of the policy's returns after it.

    Args:
        paths: rollouts and pools (`qstar_core.labels.steps.PATH_COLUMNS`) of whole problems.
        gamma: discount per step, in (0, 1].
        eta: temperature of the maximum, above 0, in units of the return.

    Returns:
        Rows of `qstar_core.labels.schema.SCHEMA`; y in [0, 1].
    """
    steps = sampled_after(steps_of(paths, ON_POLICY)).with_columns(seen=returns(gamma))
    most = pl.col("seen").max()
    above = ((pl.col("seen") - most) / eta).exp().mean().log() * eta
    actions = by_action(steps, most + above)
    return label_rows(paths, actions, "soft", gamma, {"eta": eta})
