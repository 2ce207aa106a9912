"""How good a value model is: ranking (AUC), accuracy of the probability (Brier), calibration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import rankdata

Array = npt.NDArray[Any]


def auc(scores: Array, positive: Array) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties count half.

    Args:
        scores: [n], larger means more likely positive.
        positive: [n], boolean.

    Returns:
        In [0, 1]; nan where one of the classes is empty.
    """
    positive = np.asarray(positive, dtype=bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return math.nan
    rank_sum = float(rankdata(scores)[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def brier(scores: Array, targets: Array) -> float:
    """Mean squared difference between predicted and observed value; nan without rows."""
    return float(np.mean((scores - targets) ** 2)) if len(scores) else math.nan


def reliability(scores: Array, targets: Array, bins: int = 10) -> list[dict[str, float]]:
    """The reliability table: equal-width bins of the prediction.

    Returns:
        For each bin that holds rows: low, high (its edges), mean_q, rate (mean target), n.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip((np.asarray(scores) * bins).astype(int), 0, bins - 1)
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


def calibration_error(scores: Array, targets: Array, bins: int = 10) -> float:
    """Expected calibration error: mean |mean prediction - mean target| of the bins, by size."""
    table = reliability(scores, targets, bins)
    total = sum(row["n"] for row in table)
    if not total:
        return math.nan
    return sum(row["n"] * abs(row["mean_q"] - row["rate"]) for row in table) / total


def by_step(predictions: pl.DataFrame) -> list[dict[str, Any]]:
    """The figures of each step index, and of the final steps.

    Args:
        predictions: columns step_index, n_steps, q, y, q_star (may be null).

    Returns:
        For "first", "second", ... and "final": step, n, positives, auc_label (against y > 0),
        auc_truth (against Q* > 0; None where unknown), brier and ece (against y). Undefined
        figures are None. A final step counts as "final" only.
    """
    names = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}
    final = pl.col("step_index") == pl.col("n_steps")
    indices = predictions.filter(~final)["step_index"].unique().sort().to_list()
    parts = [
        (names.get(t, f"step {t}"), predictions.filter(~final & (pl.col("step_index") == t)))
        for t in indices
    ]
    return [_figures(name, part) for name, part in [*parts, ("final", predictions.filter(final))]]


def _figures(name: str, part: pl.DataFrame) -> dict[str, Any]:
    q, y = part["q"].to_numpy(), part["y"].to_numpy()
    known = part["q_star"].null_count() == 0 and len(part) > 0
    truth = auc(q, part["q_star"].to_numpy() > 0) if known else math.nan
    figures = {
        "auc_label": auc(q, y > 0),
        "auc_truth": truth,
        "brier": brier(q, y),
        "ece": calibration_error(q, y),
    }
    plain = {k: None if math.isnan(v) else round(v, 6) for k, v in figures.items()}
    return {"step": name, "n": len(part), "positives": int((y > 0).sum()), **plain}
