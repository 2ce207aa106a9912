"""How good predicted values are: ranking (AUC, Spearman), accuracy (Brier), calibration.

Every figure takes weights: a row of weight 2 counts as two equal rows. The bootstrap of
`qstar_core.values.intervals` draws problems by them, and so needs no copies of rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BINS = 10
"""Equal-width bins of the reliability curve and of the expected calibration error."""


def dense(values: Array) -> Array:
    """Places 0, 1, ... of values among the distinct ones, ties sharing one."""
    places: Array = np.unique(np.asarray(values), return_inverse=True)[1]
    return places


def auc(scores: Array, positive: Array, weights: Array | None = None) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties count half.

    Args:
        scores: [n], larger means more likely positive.
        positive: [n], boolean.
        weights: [n], not negative; None is 1 for all.

    Returns:
        In [0, 1]; nan where one of the classes is empty.
    """
    return auc_of_places(dense(scores), np.asarray(positive, dtype=bool), weights)


def auc_of_places(places: Array, positive: Array, weights: Array | None = None) -> float:
    """`auc` where the scores are given by their `dense` places."""
    w = np.ones(len(places)) if weights is None else weights
    ups = np.bincount(places, w * positive)
    downs = np.bincount(places, w * ~positive)
    pairs = float(ups.sum() * downs.sum())
    if not pairs > 0:
        return math.nan
    return float(ups @ (np.cumsum(downs) - downs / 2)) / pairs


def spearman(a: Array, b: Array, weights: Array | None = None) -> float:
    """Spearman's rank correlation, ties at the middle of their ranks.

    Args:
        a: [n].
        b: [n].
        weights: [n], not negative; None is 1 for all.

    Returns:
        In [-1, 1]; nan where one of them has no two different values.
    """
    return spearman_of_places(dense(a), dense(b), weights)


def spearman_of_places(a: Array, b: Array, weights: Array | None = None) -> float:
    """`spearman` of `dense` places."""
    w = np.ones(len(a)) if weights is None else weights
    total = w.sum()
    if not total > 0:
        return math.nan
    x, y = (_middle_ranks(places, w) for places in (a, b))
    x, y = x - (w @ x) / total, y - (w @ y) / total
    spread = math.sqrt(float(w @ x**2) * float(w @ y**2))
    return float(w @ (x * y)) / spread if spread > 1e-9 * total else math.nan


def _middle_ranks(places: Array, weights: Array) -> Array:
    """The weight of the rows below each row, and half of that of the rows equal to it."""
    ties = np.bincount(places, weights)
    ranks: Array = (np.cumsum(ties) - ties / 2)[places]
    return ranks


def brier(scores: Array, targets: Array, weights: Array | None = None) -> float:
    """Mean squared difference between predicted and observed value (Brier 1950).

    Returns:
        In [0, 1]; nan without rows.
    """
    return mean((np.asarray(scores) - targets) ** 2, weights)


def mean(values: Array, weights: Array | None = None) -> float:
    """The weighted mean; nan without rows or weight."""
    w = np.ones(len(values)) if weights is None else weights
    total = float(w.sum())
    return float(w @ values) / total if total > 0 else math.nan


def reliability(scores: Array, targets: Array, bins: int = BINS) -> list[dict[str, float]]:
    """The reliability table: equal-width bins of the prediction.

    Returns:
        For each bin that holds rows: low, high (its edges), mean_q, rate (mean target), n.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = bin_of(scores, bins)
    table = []
    for k in range(bins):
        inside = place == k
        if inside.any():
            table.append(
                {
                    "low": float(edges[k]),
                    "high": float(edges[k + 1]),
                    "mean_q": float(scores[inside].mean()),
                    "rate": float(targets[inside].mean()),
                    "n": int(inside.sum()),
                }
            )
    return table


def bin_of(scores: Array, bins: int = BINS) -> Array:
    """The bin of each prediction, from 0."""
    places: Array = np.clip((np.asarray(scores) * bins).astype(int), 0, bins - 1)
    return places


def calibration_error(
    scores: Array, targets: Array, bins: int = BINS, weights: Array | None = None
) -> float:
    """Expected calibration error: mean |mean prediction - mean target| of the bins, by size.

    Returns:
        In [0, 1]; nan without rows. Where every bin has few rows it is above 0 by chance alone,
        also for a perfectly calibrated model.
    """
    w = np.ones(len(scores)) if weights is None else weights
    total = float(w.sum())
    if not total > 0:
        return math.nan
    gaps = np.bincount(bin_of(scores, bins), w * (np.asarray(scores) - targets), bins)
    return float(np.abs(gaps).sum()) / total
