"""Figures of the label table itself: balance and values by step, and labels that contradict.

Files are read one after the other and their counts added up; a problem's labels are in one file, so
that an action's are too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

BINS = 10
"""Bins of the histogram over y in [0, 1]; the last one is closed."""
EXAMPLES = 3
SAME = 1e-9  # values nearer than this are one value

Row = dict[str, Any]


def by_step(files: Sequence[str]) -> list[Row]:
    """Class balance and histogram of the labels of each step.

    Args:
        files: Parquet files of a labels data set.

    Returns:
        One row per ``step`` (from 1): ``n`` labels, ``positive`` ones (y > 0), and ``histogram``,
        the counts of `BINS` equal bins over y in [0, 1].
    """
    place = (pl.col("y") * BINS).floor().clip(0, BINS - 1).cast(pl.Int32)
    counts = [
        pl.scan_parquet(file)
        .select(step="step_index", bin=place, positive=pl.col("y") > 0)
        .group_by("step", "bin")
        .agg(n=pl.len(), positive=pl.col("positive").sum())
        .collect(engine="streaming")
        for file in files
    ]
    found: dict[int, Row] = {}
    for step, place_, n, positive in pl.concat(counts).sort("step", "bin").iter_rows():
        row = found.setdefault(step, {"step": step, "n": 0, "positive": 0, "histogram": [0] * BINS})
        row["n"] += n
        row["positive"] += positive
        row["histogram"][place_] += n
    return list(found.values())


def conflicts(files: Sequence[str]) -> Row:
    """Labels of one state and action that differ; every method here gives an action one label.

    Args:
        files: Parquet files of a labels data set.

    Returns:
        ``actions`` (distinct), ``conflicting`` ones among them, the ``rows`` these have, and
        ``examples`` (problem_id, step, action, low, high), widest first.
    """
    actions = conflicting = rows = 0
    examples: list[Row] = []
    for file in files:
        spread = (
            pl.scan_parquet(file)
            .group_by("action_id")
            .agg(
                pl.col("problem_id").first().cast(pl.String),
                pl.col("step_index").first().alias("step"),
                pl.col("action").first().cast(pl.String),
                low=pl.col("y").min(),
                high=pl.col("y").max(),
                n=pl.len(),
            )
        )
        differ = (pl.col("high") - pl.col("low")) > SAME
        counted = spread.select(pl.len(), differ.sum(), pl.col("n").filter(differ).sum()).collect(
            engine="streaming"
        )
        several, wrong, of = counted.row(0)
        actions, conflicting, rows = actions + several, conflicting + wrong, rows + of
        if wrong:
            examples += _widest(spread.filter(differ))
            examples = sorted(examples, key=lambda row: row["low"] - row["high"])[:EXAMPLES]
    return {
        "actions": actions,
        "conflicting": conflicting,
        "rows": rows,
        "examples": examples,
    }


def _widest(spread: pl.LazyFrame) -> list[Row]:
    order = [pl.col("low") - pl.col("high"), pl.col("problem_id"), pl.col("action")]
    columns = ("problem_id", "step", "action", "low", "high")
    return spread.sort(order).head(EXAMPLES).select(columns).collect().to_dicts()
