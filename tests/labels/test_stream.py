"""Labels do not depend on how the tables are cut into files, shards and parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as File

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.labels import stream
from qstar_core.labels.best_of_rollouts import best_of_rollouts
from qstar_core.labels.schema import file_schema
from qstar_core.rollouts.sample import SCHEMA
from tests.labels.paths import TREES, Path, arrow, roots, table

PROBLEMS = [f"p{k}" for k in range(6)]
PATHS = [
    Path(actions, actions == "ab", source, given, problem)
    for source, given, plays in (("rollouts", 0, ("ab", "ac", "ab")), ("states", 1, ("ade", "ab")))
    for problem in PROBLEMS
    for actions in plays
]


ALL = 10**6
CUTS = [
    (1, ALL, 6),
    (12, ALL, 5),
    (30, ALL, 2),
    (ALL, ALL, 1),
    (1, 1, 6),
    (12, 30, 4),
    (ALL, 30, 2),
]
"""Steps labelled at once, steps read at once, and in how many parts: a problem has 11 steps."""


def written(folder: File, paths: Sequence[Path], name: str, sizes: Sequence[int]) -> list[str]:
    """Parquet files with so many paths each; the last one has the rest. Small row groups."""
    files, rows = [], arrow(paths)
    if name == "rollouts":
        rows = rows.select(SCHEMA.names)
    for k, size in enumerate([*sizes, len(paths)]):
        files.append(str(folder / f"{name}-{k}.parquet"))
        pq.write_table(rows.slice(0, size), files[-1], row_group_size=2)
        rows = rows.slice(size)
    return files


def tables(
    folder: File, paths: Sequence[Path], sizes: Sequence[int] = (), wanted: Sequence[str] = PROBLEMS
) -> stream.Tables:
    pool = [path for path in paths if path.source != "rollouts"]
    return stream.Tables(
        written(folder, roots(paths), "rollouts", sizes),
        [written(folder, pool, "states", sizes)] if pool else [],
        pl.Series(wanted, dtype=pl.String),
    )


def labelled(parts: Sequence[pl.LazyFrame]) -> pl.DataFrame:
    return pl.concat([best_of_rollouts(part, 0.5).collect() for part in parts])


@pytest.mark.parametrize("sizes", [(), (3,), (1, 4, 2), (0, 9)])
@pytest.mark.parametrize(("at_once", "steps_read", "count"), CUTS)
def test_parts_do_not_change_the_labels(
    tmp_path: File, sizes: tuple[int, ...], at_once: int, steps_read: int, count: int
) -> None:
    parts = list(stream.chunks(tables(tmp_path, PATHS, sizes), at_once, steps_read))
    steps = [part.select(pl.col("n_steps").sum()).collect().item() for part in parts]
    assert max(steps) < at_once + 11  # the steps of one problem
    assert len(parts) == count
    assert labelled(parts).equals(best_of_rollouts(table(PATHS), 0.5).collect())


def test_of_some_problems_the_others_are_not_labelled(tmp_path: File) -> None:
    wanted = PROBLEMS[2:4]
    parts = list(stream.chunks(tables(tmp_path, PATHS, (4,), wanted), 1))
    some = [path for path in PATHS if path.problem in wanted]
    assert labelled(parts).equals(best_of_rollouts(table(some), 0.5).collect())


@given(paths=TREES, at_once=st.sampled_from([1, 5, 100]))
def test_problems_that_lie_between_each_other_stay_together(
    tmp_path_factory: pytest.TempPathFactory, paths: list[Path], at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    parts = list(stream.chunks(tables(folder, paths, (2,), ["p", "q"]), at_once))
    whole = best_of_rollouts(table(paths), 0.5).collect()
    assert labelled(parts).equals(whole)


def test_a_problem_without_rollouts_has_no_labels(tmp_path: File) -> None:
    parts = list(stream.chunks(tables(tmp_path, PATHS, (), [*PROBLEMS, "quarantined"])))
    assert set(labelled(parts)["problem_id"]) == set(PROBLEMS)
    nobody = tables(tmp_path, PATHS, (), ["quarantined"])
    assert list(stream.chunks(nobody)) == []
    assert list(stream.chunks(replace(nobody, rollouts=[]))) == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("part-p0000000-0000010.parquet", False),
        ("part-p0000010-0000020.parquet", True),
        ("part-p0000012-0000013.parquet", True),
        ("part-p0000019-0000030.parquet", True),
        ("part-p0000020-0000030.parquet", False),
        ("elsewhere.parquet", True),
    ],
)
def test_a_file_is_read_where_its_problems_are_wanted(name: str, found: bool) -> None:
    assert stream.overlaps(name, 10, 20) is found


def test_figures_add_up(tmp_path: File) -> None:
    told: list[tuple[int, int]] = []
    figures = stream.label_file(
        tmp_path / "labels.parquet",
        file_schema("best_of_rollouts", 0.5, {}),
        stream.chunks(tables(tmp_path, PATHS), 12),
        lambda part: best_of_rollouts(part, 0.5),
        lambda rollouts, steps: told.append((rollouts, steps)),
    )
    assert sum(rollouts for rollouts, _ in told) == 18
    assert sum(steps for _, steps in told) == 36
    frame = pl.read_parquet(tmp_path / "labels.parquet")
    assert frame.equals(best_of_rollouts(table(PATHS), 0.5).collect())
    assert figures == {
        "steps": 36,
        "positive_share": (frame["y"] > 0).mean(),
        "distinct_first_actions": 6,
    }
    assert stream.combined([figures, figures]) == figures | {
        "steps": 72,
        "distinct_first_actions": 12,
    }
