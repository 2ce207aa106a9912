"""How much labels have changed from one round of fitted Q iteration to the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

KEY = ("rollout_id", "step_index")


def mean_change(before: Sequence[str], after: Sequence[str]) -> float | None:
    """The mean of |y_l - y_(l-1)| over the steps that both data sets have.

    In a fixed point of the iteration it is 0; with a Q-value model between the rounds it stays
    above, at the size of the model's errors.

    Args:
        before: Parquet files of the labels of a round.
        after: those of the next; shards of one name hold the same rollouts.

    Returns:
        In [0, 1]; None where they share no step.
    """
    total, steps = 0.0, 0
    known = {Path(file).name: file for file in before}
    for file in after:
        if Path(file).name not in known:
            continue
        old, new = (
            pl.scan_parquet(each).select(*KEY, "y") for each in (known[Path(file).name], file)
        )
        both = new.join(old, on=KEY, suffix="_before")
        moved = (pl.col("y") - pl.col("y_before")).abs()
        found = both.select(total=moved.sum(), steps=pl.len()).collect(engine="streaming")
        total, steps = total + found["total"][0], steps + found["steps"][0]
    return total / steps if steps else None
