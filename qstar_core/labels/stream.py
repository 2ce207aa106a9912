"""Paths of many problems, a bounded number of steps at a time, and their labels into one file.

A label needs all paths of its problem and none of another, so a table of any size is labelled
problem by problem: the problems of about `STEPS_READ` steps are read at once, those of about
`STEPS_AT_ONCE` are labelled at once, which is the faster the better their actions fit into the
processor's cache. Which problems go together changes neither rows nor their order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from qstar_core.labels.schema import LabelFile
from qstar_core.labels.steps import as_paths

STEPS_READ = 1_000_000
"""Steps in memory: some hundred MB. A problem with more is taken whole."""
STEPS_AT_ONCE = 50_000
"""Steps labelled at once, and about the rows of a row group."""
READ = (
    "problem_id",
    "rollout_id",
    "steps",
    "n_steps",
    "outcome",
    "answer",
    "grader",
    "grader_version",
    "policy",
    "split",
    "source",
    "prefix_steps",
)
"""Columns of paths that labels are made from, and another grading before."""
_RANGE = re.compile(r"p(\d+)-(\d+)\.parquet$")


@dataclass(frozen=True)
class Tables:
    """The files that the paths of a range of problems are in.

    Attributes:
        rollouts: Parquet files of rollouts.
        pools: those of each pool.
        problems: ids of the problems in question; the files may hold others.
    """

    rollouts: list[str]
    pools: list[list[str]]
    problems: pl.Series


def overlaps(name: str, start: int, stop: int) -> bool:
    """Whether a shard's file may hold one of the problems from start to before stop.

    Args:
        name: of the file; ``pSTART-STOP`` at its end says which problems are in it, and one that
            says nothing may hold any.
        start: place of the first problem.
        stop: place after the last.
    """
    found = _RANGE.search(name)
    return found is None or (int(found[1]) < stop and start < int(found[2]))


def chunks(
    tables: Tables, steps_at_once: int = STEPS_AT_ONCE, steps_read: int = STEPS_READ
) -> Iterator[pl.LazyFrame]:
    """Paths of whole problems, the rollouts in their order and after them those of the pools.

    Args:
        tables: what to read.
        steps_at_once: a chunk is closed by the problem with which it has as many.
        steps_read: the same of what is read at once.
    """
    if not tables.rollouts:
        return
    pools = [pl.scan_parquet(files) for files in tables.pools if files]
    sets = [as_paths(pl.scan_parquet(tables.rollouts)), *pools]
    wanted = pl.col("problem_id").is_in(tables.problems.implode())
    for parts in _cut(sets, steps_read, wanted):
        read = [rows.select(READ).collect().lazy() for rows in parts]
        for some in _cut(read, steps_at_once):
            yield pl.concat(some)


def label_file(
    path: Path,
    schema: pa.Schema,
    parts: Iterable[pl.LazyFrame],
    label: Callable[[pl.LazyFrame], pl.LazyFrame],
    done: Callable[[int, int], None],
) -> dict[str, Any]:
    """Writes the labels of paths, one part after the other.

    Args:
        path: of the Parquet file.
        schema: of `qstar_core.labels.schema.file_schema`.
        parts: of `chunks`.
        label: a method with its parameters.
        done: told the rollouts and steps of each part.

    Returns:
        Figures: "steps", "positive_share" (of the steps, y > 0), "distinct_first_actions".
    """
    steps = positive = first_actions = 0
    with LabelFile(path, schema) as file:
        for paths in parts:
            frame = label(paths).collect()
            file.write(frame)
            steps += len(frame)
            positive += int((frame["y"] > 0).sum())
            first = frame.filter(pl.col("step_index") == 1)
            first_actions += first["action_id"].n_unique()
            done(len(first), len(frame))
    share = positive / max(1, steps)
    return {"steps": steps, "positive_share": share, "distinct_first_actions": first_actions}


def combined(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a label data set from those of its shards."""
    steps = sum(f["steps"] for f in figures)
    positive = sum(f["positive_share"] * f["steps"] for f in figures)
    return {
        "steps": steps,
        "positive_share": positive / max(1, steps),
        "distinct_first_actions": sum(f["distinct_first_actions"] for f in figures),
    }


def _cut(
    tables: Sequence[pl.LazyFrame], limit: int, wanted: pl.Expr | bool = True
) -> Iterator[list[pl.LazyFrame]]:
    """The rows of some problems after those of others, of each table that has any.

    Args:
        tables: rollouts, whose order is kept, and pools.
        limit: steps, see `chunks`.
        wanted: of which problems.
    """
    places = [_places(table, wanted) for table in tables]
    for problems in _groups(places, limit):
        here = [problems.join(place, on="problem_id") for place in places]
        yield [_rows(*pair) for pair in zip(tables, here, strict=True) if len(pair[1])]


def _places(table: pl.LazyFrame, wanted: pl.Expr | bool) -> pl.DataFrame:
    """Where each problem lies in a table: first and last row, how many rows and steps."""
    return (
        table.select("problem_id", "n_steps")
        .with_row_index("row")
        .filter(wanted)
        .group_by("problem_id")
        .agg(
            first=pl.col("row").min(),
            last=pl.col("row").max(),
            rows=pl.len(),
            steps=pl.col("n_steps").cast(pl.Int64).sum(),
        )
        .sort("first")
        .collect()
    )


def _groups(places: Sequence[pl.DataFrame], limit: int) -> list[pl.DataFrame]:
    """Problems to take at once, one column problem_id each, in the order of the rollouts.

    Problems whose rows lie between those of another stay with it, so that the order of rows is
    kept whatever the limit.
    """
    total = pl.concat(places).group_by("problem_id").agg(pl.col("steps").sum())
    begins = pl.col("first") > pl.col("last").cum_max().shift(1)
    units = (
        places[0]
        .select("problem_id", unit=begins.fill_null(False).cum_sum())
        .join(total, on="problem_id", maintain_order="left")
        .with_columns(before=pl.col("steps").cum_sum() - pl.col("steps"))
        .select("problem_id", group=pl.col("before").first().over("unit") // limit)
    )
    return units.partition_by("group", maintain_order=True, include_key=False)


def _rows(table: pl.LazyFrame, places: pl.DataFrame) -> pl.LazyFrame:
    """The paths of some problems, from their part of the table alone."""
    first, last = places.select(pl.col("first").min(), pl.col("last").max()).row(0)
    rows = table.slice(first, last - first + 1)
    if places["rows"].sum() == last - first + 1:
        return rows
    return rows.filter(pl.col("problem_id").is_in(places["problem_id"].implode()))
