"""The figures of an evaluation: what its manifest and the table at the end of a run show."""

from __future__ import annotations

from typing import Any

import polars as pl

from qstar_core.config import RunConfig
from qstar_core.evaluation.compare import COSTS, compare
from qstar_core.evaluation.sweep import reach, sweep

COMPARED = ("problem_id", "method", "algorithm", "outcome", *COSTS)
"""What is read of searches; their trees and records are most of a file."""


def summarise(
    files: list[str], receipts: list[dict[str, Any]], config: RunConfig
) -> dict[str, Any]:
    """Compares the methods over all shards.

    Args:
        files: Parquet files of searches.
        receipts: of the shards, with figures method and seconds.
        config: names the baseline, bootstrap samples and seed.

    Returns:
        {"comparison": rows of `compare`}; seconds are summed over a method's shards.
    """
    searches = pl.scan_parquet(files).select(COMPARED).collect()
    seconds: dict[str, float] = {}
    for receipt in receipts:
        figures = receipt["figures"]
        seconds[figures["method"]] = seconds.get(figures["method"], 0.0) + figures["seconds"]
    rows = compare(
        searches,
        seconds,
        config.evaluation.baseline,
        seed=config.seed,
        resamples=config.evaluation.bootstrap_samples,
    )
    return {"comparison": rows}


def summarise_sweep(
    files: list[str], receipts: list[dict[str, Any]], config: RunConfig
) -> dict[str, Any]:
    """Compares the methods over all budgets and shards.

    Args:
        files: Parquet files of searches with the column budget.
        receipts: of the shards, or what a manifest keeps of them: figures method, budget, seconds.
        config: names the baseline, the correction, bootstrap samples and seed.

    Returns:
        {"sweep": rows of `sweep`, "reach": rows of `reach`}; seconds are summed over the shards of
        a method and budget.
    """
    searches = pl.scan_parquet(files).select(*COMPARED, "budget", "first_correct").collect()
    seconds: dict[tuple[str, float], float] = {}
    for receipt in receipts:
        figures = receipt["figures"]
        key = figures["method"], float(figures["budget"])
        seconds[key] = seconds.get(key, 0.0) + figures["seconds"]
    chosen = config.compared()
    drawing = {"seed": config.seed, "resamples": chosen.bootstrap_samples}
    correction = config.comparison.correction
    rows = sweep(searches, seconds, chosen.baseline, correction, **drawing)
    return {"sweep": rows, "reach": reach(searches, rows, chosen.baseline, **drawing)}
