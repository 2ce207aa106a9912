"""The figures of an evaluation: what its manifest and the table at the end of a run show."""

from __future__ import annotations

from typing import Any

import polars as pl

from qstar_core.config import RunConfig
from qstar_core.evaluation.compare import compare


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
    searches = pl.read_parquet(files)
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
