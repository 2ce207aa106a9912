"""Statistics of an evaluation: intervals, paired tests, and how good a value model is.

The figures of the value model (`auc`, `brier`, `reliability`, `calibration_error`) are those of
`qstar_core.values.metrics`, which the training measures itself with; there is one definition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm

from qstar_core.values.metrics import auc, brier, calibration_error, reliability

__all__ = [
    "auc",
    "brier",
    "calibration_error",
    "discordant",
    "holm",
    "mcnemar",
    "paired_bootstrap",
    "reliability",
    "wilson",
]

RESAMPLES = 10_000

Flags = npt.NDArray[np.bool_]


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927, no continuity correction).

    Args:
        successes: 0..n.
        n: trials.
        level: coverage, in (0, 1).

    Returns:
        (low, high) in [0, 1]; (nan, nan) for n = 0.

    Raises:
        ValueError: successes are not in 0..n, or the level is not in (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in 0..{n}, got {successes}")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    if n == 0:
        return math.nan, math.nan
    z = float(norm.ppf(0.5 + level / 2))
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The ends are exactly 0 and 1 where nothing or everything succeeded; rounding would blur them.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return low, high


def discordant(solved: Flags, baseline: Flags) -> tuple[int, int]:
    """The pairs that differ.

    Args:
        solved: [n], whether the method solved each problem.
        baseline: [n], the same for the baseline, same problems in the same order.

    Returns:
        (problems only the method solved, problems only the baseline solved).

    Raises:
        ValueError: the arrays are not of one length.
    """
    a, b = np.asarray(solved, dtype=bool), np.asarray(baseline, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired arrays must have one length, got {a.shape} and {b.shape}")
    return int((a & ~b).sum()), int((~a & b).sum())


def paired_bootstrap(
    solved: Flags,
    baseline: Flags,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the accuracy difference, problems resampled in pairs.

    A resample's difference depends only on how many drawn problems were won and lost, and those
    counts are multinomial; drawing them is the same bootstrap without an [n x resamples] array,
    and the interval does not depend on the order of the problems.

    Args:
        solved: [n], whether the method solved each problem.
        baseline: [n], the same for the baseline.
        seed: of numpy's default generator.
        resamples: bootstrap samples.
        level: coverage, in (0, 1).

    Returns:
        (low, high) of accuracy(method) - accuracy(baseline), in [-1, 1]; (nan, nan) for n = 0.
        Where no pair differs it is (0, 0): the bootstrap cannot see what did not occur. With
        few differing pairs it is too narrow for the same reason; read it beside `mcnemar`.
    """
    won, lost = discordant(solved, baseline)
    n = len(solved)
    if n == 0:
        return math.nan, math.nan
    shares = [won / n, lost / n, (n - won - lost) / n]
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    differences = (counts[:, 0] - counts[:, 1]) / n
    tail = (1 - level) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(low), float(high)


def mcnemar(solved: Flags, baseline: Flags) -> float:
    """Two-sided exact McNemar test: is either method likelier to win a pair that differs?

    Args:
        solved: [n], whether the method solved each problem.
        baseline: [n], the same for the baseline.

    Returns:
        p in (0, 1]; 1 where no pair differs, n = 0 included.
    """
    won, lost = discordant(solved, baseline)
    if won + lost == 0:
        return 1.0
    return float(binomtest(won, won + lost, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts the p-values of a family of tests for their number (Holm 1979, step-down).

    Rejecting where the adjusted p is below a level keeps the chance of any false rejection in the
    family below that level, whatever the dependence of the tests.

    Args:
        p_values: of the whole family, in [0, 1].

    Returns:
        Adjusted p-values in the order given, in [0, 1], none below its p-value: the running
        maximum of (m - k) * p over the p-values in ascending order, k = 0 for the smallest.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for k, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - k) * p_values[i]))
        adjusted[i] = largest
    return adjusted
