"""Soft maximum: between the mean and the best return of the policy's samples.

    y(s_t, a_t) = eta * ln mean exp(R / eta),   R the returns gamma^(T - t) [correct]

over the samples of `mean_of_rollouts`. It is the value of KL-regularised control with weight eta
(the free energy of the returns): eta -> 0 gives the best return, eta -> infinity the mean. It
grows with every sample that succeeds, as the mean does, and one success in many counts for more.

It is computed as 1 + eta * ln mean exp((R - 1) / eta), which cannot overflow as R <= 1, and does
not vanish from eta = `SMALLEST_ETA` on. There the best return is at most eta * ln n away.

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

SMALLEST_ETA = 0.002
"""Below it a return of 0 would vanish beside one of 1 in double precision: exp(-1 / eta)."""


def soft(paths: pl.LazyFrame, gamma: float, eta: float) -> pl.LazyFrame:
    """Labels every step of every rollout with the soft maximum of the policy's returns after it.

    Args:
        paths: rollouts and pools (`qstar_core.rollouts.paths.PATHS`) of whole problems.
        gamma: discount per step, in (0, 1].
        eta: temperature of the maximum, at least `SMALLEST_ETA`, in units of the return.

    Returns:
        Rows of `qstar_core.labels.schema.SCHEMA`; y in [0, 1], exactly 0 where no sample is
        correct.

    Raises:
        ValueError: eta is too small.
    """
    if eta < SMALLEST_ETA:
        raise ValueError(f"eta must be at least {SMALLEST_ETA}; smaller is best_of_rollouts")
    steps = sampled_after(steps_of(paths, ON_POLICY))
    powers = ((returns(gamma) - 1.0) / eta).exp().alias("power")
    actions = by_action(steps.with_columns(powers), pl.col("power").mean())
    y = (1.0 + eta * pl.col("y").log()).clip(0.0, 1.0)  # log exp of 0 returns is 0 but for rounding
    some = pl.when(pl.col("successes") > 0).then(y).otherwise(0.0)
    return label_rows(paths, actions.with_columns(y=some), "soft", gamma, {"eta": eta})
