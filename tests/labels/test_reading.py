from __future__ import annotations

from pathlib import Path

import polars as pl

from qstar_core.labels import schema
from qstar_core.labels.reading import TRAINED_ON, read_labels
from tests.audit.examples import BAD, END, GOOD, PROBLEM, WIN, write_run


def files(tmp_path: Path) -> list[str]:
    folder = Path(write_run(tmp_path, {PROBLEM: [(GOOD, WIN), (BAD, END)]}))
    return [str(file) for file in sorted(folder.glob("*.parquet"))]


def test_the_columns_of_training_and_no_others(tmp_path: Path) -> None:
    given = files(tmp_path)
    frame = read_labels(given)
    assert frame.equals(pl.read_parquet(given).select(TRAINED_ON))
    assert set(TRAINED_ON) < set(schema.SCHEMA.names)


def test_rows_of_one_split(tmp_path: Path) -> None:
    given = files(tmp_path)
    assert len(read_labels(given, "train")) + len(read_labels(given, "test")) == 4
