"""The table of problems: one row per problem of a split."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from qstar_core.mdp import Problem
from qstar_core.store import dataset

COLUMNS = ("problem_id", "domain", "prompt", "reference", "split", "split_asked")
SCHEMA = pa.schema([pa.field(name, pa.string()) for name in COLUMNS])


def table(problems: Iterable[Problem], split: str) -> pa.Table:
    """The rows of some problems, in their order.

    Args:
        problems: of a split.
        split: what they are used for, in the column ``split_asked``; the column ``split`` is the
            problem's own.
    """
    rows = [{"problem_id": p.id, **p.to_dict(), "split_asked": split} for p in problems]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def read_problems(uri: str, split: str) -> list[Problem]:
    """The problems of a split in their order.

    Args:
        uri: folder of the published problems.
        split: what they are used for, see `table`.
    """
    import polars as pl

    frame = pl.read_parquet(dataset.data_files(uri)).filter(pl.col("split_asked") == split)
    rows = frame.select("domain", "prompt", "reference", "split").iter_rows()
    return [Problem(*row) for row in rows]
