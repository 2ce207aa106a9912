"""Measures a trained value model on its held-out problems, and calibrates it.

1. With a calibration (`qstar_core.values.calibration`) the held-out problems are halved by hash:
   one half fits it, and all figures come from the other one. Without, they come from all.
2. Figures are against the labels and, where the domain knows it, the exact Q* with the discount of
   the labels. The labels of a step that could succeed and was not seen to are 0, so a model that is
   calibrated to them is below Q* on average, and should be.
3. Rows are the steps of distinct trajectories: an action that several of them share counts several
   times. Among siblings (`qstar_core.values.siblings`) it counts once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem
from qstar_core.values import siblings
from qstar_core.values.calibration import (
    MIN_PROBLEMS,
    Calibration,
    Method,
    cross_entropy,
    fit,
    fits,
    logits,
)
from qstar_core.values.intervals import Statistic, intervals
from qstar_core.values.metrics import (
    Array,
    auc_of_places,
    brier,
    calibration_error,
    dense,
    reliability,
    spearman_of_places,
)

NAMES = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}
OF_LABELS = {"auc": "auc_label", "brier": "brier", "ece": "ece", "spearman": "spearman_label"}
"""Names of the figures against the labels; those against Q* end in ``_truth``."""
RAW = "q_raw"
"""Column with the predictions before calibration."""
KEY = ("rollout_id", "step_index")
COLUMNS = (
    "problem_id",
    "domain",
    "rollout_id",
    "step_index",
    "n_steps",
    "state_id",
    "action_id",
    "q",
    RAW,
    "y",
    "q_star",
    "reported",
)
DECIMALS = 6

Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What was found of a model.

    Attributes:
        figures: for the manifest, see `figures_of`.
        predictions: one row per held-out step: problem_id, domain, rollout_id, step_index, n_steps,
            state_id, action_id, q (calibrated), q_raw (not), y, q_star (null where unknown),
            reported (whether the figures count it; the calibration was fitted on the others).
        calibration: to be stored in the checkpoint.
    """

    figures: Row
    predictions: pl.DataFrame
    calibration: Calibration


def measure(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    problems: Iterable[Problem],
    method: Method,
    seed: int,
) -> Measured:
    """Calibrates a model by its held-out predictions, and measures it.

    Args:
        predictions: columns problem_id, rollout_id, step_index, n_steps, q, y, q_star.
        labels: of these rollouts, and maybe of others: rollout_id, step_index, state_id, action_id,
            action, gamma.
        problems: those of the predictions, and maybe others.
        method: of the calibration.
        seed: of the split into halves.
    """
    known = {problem.id: problem for problem in problems}
    frame = identified(predictions, labels, known)
    calibration, reported = calibrate(frame, method, seed)
    calibrated = calibration.apply(frame["q"].to_numpy())
    frame = frame.rename({"q": RAW}).with_columns(
        q=pl.Series(calibrated, dtype=pl.Float64), reported=reported
    )
    frame = frame.select(COLUMNS)
    return Measured(figures_of(frame, calibration), frame, calibration)


def identified(
    predictions: pl.DataFrame, labels: pl.DataFrame, problems: dict[str, Problem]
) -> pl.DataFrame:
    """Predictions with domain, state_id and action_id, and Q* with the discount of the labels."""
    gamma = float(labels["gamma"][0]) if len(labels) else 1.0
    ids = labels.select(*KEY, "state_id", "action_id", "action")
    ids = ids.cast({"step_index": predictions.schema["step_index"]})
    frame = predictions.join(ids, on=list(KEY), how="left", maintain_order="left")
    domains = {p: problems[p].domain for p in frame["problem_id"].unique().to_list()}
    name = pl.col("problem_id").replace_strict(domains, return_dtype=pl.String)
    frame = frame.with_columns(domain=name)
    if gamma != 1.0:
        frame = frame.with_columns(q_star=_discounted(frame, problems, gamma))
    return frame.drop("action")


def _discounted(frame: pl.DataFrame, problems: dict[str, Problem], gamma: float) -> pl.Series:
    """The exact Q* of every step, null where the domain does not know it."""
    values: list[float | None] = []
    plays = frame.group_by("rollout_id", maintain_order=True).agg(
        pl.col("problem_id").first(), pl.col("action")
    )
    for problem_id, actions in plays.select("problem_id", "action").iter_rows():
        problem = problems[problem_id]
        exact = getattr(DOMAINS[problem.domain], "q_star", None)
        values += exact(problem, actions, gamma) if exact else [None] * len(actions)
    return pl.Series(values, dtype=pl.Float64)


def calibrate(frame: pl.DataFrame, method: Method, seed: int) -> tuple[Calibration, pl.Series]:
    """The calibration of some predictions, and which rows it was not fitted on."""
    everything = pl.Series([True] * len(frame), dtype=pl.Boolean)
    if method == "none":
        return Calibration(), everything
    halves = {p: fits(p, seed) for p in frame["problem_id"].unique().to_list()}
    fewest = min(sum(halves.values()), len(halves) - sum(halves.values()))
    if fewest < MIN_PROBLEMS:
        why = f"{fewest} held-out problems in one of the halves, at least {MIN_PROBLEMS} are needed"
        return Calibration(method, skipped=why), everything
    fitted = frame["problem_id"].replace_strict(halves, return_dtype=pl.Boolean)
    part = frame.filter(fitted)
    found = fit(part["q"].to_numpy(), part["y"].to_numpy(), method)
    return found, everything if found.skipped else ~fitted


def figures_of(frame: pl.DataFrame, calibration: Calibration) -> Row:
    """All figures of a model.

    Args:
        frame: see `Measured.predictions`.
        calibration: that was applied.

    Returns:
        calibration (method, temperature, shift, problems on either side, and the cross-entropy in
        nats before and after); heldout, rows of `by_step`; overall, the same of all steps at once;
        regret, rows of `regret_by_step`; reliability and reliability_before, rows of
        `qstar_core.values.metrics.reliability`; and, where there are several domains, by_domain
        and regret_by_domain, the same rows of each.
    """
    part = frame.filter("reported")
    y = part["y"].to_numpy()
    before, after = part[RAW].to_numpy(), part["q"].to_numpy()
    count = part["problem_id"].n_unique()
    told: Row = {**calibration.to_dict(), "problems": count}
    told["problems_fitted"] = frame["problem_id"].n_unique() - count
    for name, q in (("loss_before", before), ("loss", after)):
        told[name] = _plain(cross_entropy(logits(q), y))
    found: Row = {
        "calibration": told,
        "heldout": by_step(part),
        "overall": step_figures("all", part),
        "regret": regret_by_step(part),
        "reliability": reliability(after, y),
        "reliability_before": reliability(before, y),
    }
    domains = part["domain"].unique().sort().to_list()
    if len(domains) > 1:
        parts = {name: part.filter(pl.col("domain") == name) for name in domains}
        found["by_domain"] = [
            {"domain": name, **row}
            for name, of in parts.items()
            for row in [*by_step(of), step_figures("all", of)]
        ]
        found["regret_by_domain"] = [
            {"domain": name, **row} for name, of in parts.items() for row in regret_by_step(of)
        ]
    return found


def by_step(predictions: pl.DataFrame) -> list[Row]:
    """The figures of each step index, and of the final steps.

    Args:
        predictions: columns step_index, n_steps, q, y, q_star (may be null) and, where there are
            any, q_raw and problem_id.

    Returns:
        For "first", "second", ... and "final" the row of `step_figures`. A final step counts as
        "final" only.
    """
    final = pl.col("step_index") == pl.col("n_steps")
    parts = _parts(predictions, final)
    return [step_figures(name, part) for name, part in parts]


def regret_by_step(predictions: pl.DataFrame) -> list[Row]:
    """What a choice among siblings loses, by step index of the choice.

    Returns:
        For "first", "second", ..., "final" (states whose every action ends its trajectory) and
        "all" a row with step, the figures of `siblings.figures` against the labels and, in
        ``truth``, the same against the exact Q* (None where it is not known).
    """
    label = siblings.states(predictions, "y")
    known = len(predictions) > 0 and predictions["q_star"].null_count() == 0
    truth = siblings.states(predictions, "q_star") if known else None
    final = pl.col("final")
    rows = []
    for name, part in [*_parts(label, final), ("all", label)]:
        row = {"step": name, **siblings.figures(part), "truth": None}
        if truth is not None:
            same = truth.join(part.select("state_id"), on="state_id", how="semi")
            row["truth"] = siblings.figures(same)
        rows.append(row)
    return rows


def _parts(frame: pl.DataFrame, final: pl.Expr) -> list[tuple[str, pl.DataFrame]]:
    """The rows of each step index that are not final, and those that are, if any."""
    indices = frame.filter(~final)["step_index"].unique().sort().to_list()
    parts = [
        (NAMES.get(t, f"step {t}"), frame.filter(~final & (pl.col("step_index") == t)))
        for t in indices
    ]
    return [*parts, ("final", frame.filter(final))]


def step_figures(name: str, part: pl.DataFrame) -> Row:
    """The figures of some steps.

    Returns:
        step, n, positives (y > 0); auc_label (ranking of y > 0) and auc_truth (of Q* > 0); brier
        and ece (calibration error) against y, brier_before and ece_before of the predictions
        before calibration, brier_truth and ece_truth against Q*; spearman_label and
        spearman_truth; intervals, 95 % by problem, of these. Undefined figures are None.
    """
    q, y = part["q"].to_numpy(), part["y"].to_numpy()
    found = {OF_LABELS[n]: statistic for n, statistic in _statistics(q, y).items()}
    if RAW in part.columns:
        before = _statistics(part[RAW].to_numpy(), y)
        found |= {f"{n}_before": before[n] for n in ("brier", "ece")}
    unknown: Row = {f"{n}_truth": None for n in OF_LABELS}
    if len(part) and part["q_star"].null_count() == 0:
        of_truth = _statistics(q, part["q_star"].to_numpy())
        found |= {f"{n}_truth": statistic for n, statistic in of_truth.items()}
    ones = np.ones(len(part))
    values = {n: _plain(statistic(ones)) for n, statistic in found.items()}
    problems = part["problem_id"].to_list() if "problem_id" in part.columns else []
    counts = {"step": name, "n": len(part), "positives": int((y > 0).sum())}
    return {**counts, **unknown, **values, "intervals": intervals(found, problems)}


def _statistics(q: Array, target: Array) -> dict[str, Statistic]:
    """AUC, Brier, calibration error and rank correlation of q against one target."""
    places, ranks, positive = dense(q), dense(target), target > 0
    return {
        "auc": lambda weights: auc_of_places(places, positive, weights),
        "brier": lambda weights: brier(q, target, weights),
        "ece": lambda weights: calibration_error(q, target, weights=weights),
        "spearman": lambda weights: spearman_of_places(places, ranks, weights),
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, DECIMALS)
