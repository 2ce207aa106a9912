from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qstar_core.adaptive.actions import Drawn, paper_space
from qstar_core.adaptive.episodes import (
    SCHEMA,
    Batch,
    Result,
    actions_of,
    file_schema,
    space_of,
    to_table,
)
from qstar_core.adaptive.policy import ConfigPolicy
from qstar_core.errors import UserError
from qstar_core.keys import sample_seed
from qstar_core.store.columns import description

SPACE = paper_space()
IDS = ("q1", "q2", "q1")
RESULTS = [
    Result(1.0, "correct", 40, ("s1", "s2")),
    Result(0.0, "wrong", 12, ("s3",)),
    Result(None, "timeout", None, ("s4",)),
]


def batch(first: int = 30) -> Batch:
    policy = ConfigPolicy(SPACE, 2)
    seeds = np.array([sample_seed(0, q, first + k) for k, q in enumerate(IDS)], dtype=np.uint64)
    drawn = policy.draw(np.zeros((3, 2)), seeds, 0.5)
    return Batch(first, IDS, np.array([0, 1, 0]), seeds, 0.5, drawn, policy.fingerprint)


def test_every_column_says_what_it_is() -> None:
    for field in SCHEMA:
        assert len(description(field)) > 5 and not description(field).endswith("."), field.name


def test_the_table_holds_all_that_an_estimate_needs(tmp_path: Path) -> None:
    made = batch()
    pq.write_table(to_table(SPACE, made, RESULTS), tmp_path / "episodes.parquet")
    table = pq.read_table(tmp_path / "episodes.parquet")
    assert table.schema.equals(SCHEMA)
    assert space_of(table.schema) == SPACE
    assert (actions_of(table) == made.drawn.actions).all()
    rows = table.to_pylist()
    assert [row["question_id"] for row in rows] == list(IDS)
    assert [row["episode_index"] for row in rows] == [30, 31, 32]
    assert [row["reward"] for row in rows] == [1.0, 0.0, None]
    assert [row["tokens"] for row in rows] == [40, 12, None]
    assert rows[0]["sample_ids"] == ["s1", "s2"] and rows[2]["outcome"] == "timeout"
    for row in rows:
        assert row["propensities"] == pytest.approx([1 / 11, 1 / 8, 1 / 100])
        assert row["tau"] == 0.5 and row["space"] == SPACE.id and row["policy"] == made.policy
    frame = pl.read_parquet(tmp_path / "episodes.parquet")
    assert frame["action"].list.len().to_list() == [3, 3, 3]


def test_ids_depend_on_the_episode_and_not_on_the_batch() -> None:
    ids = to_table(SPACE, batch(), RESULTS)["episode_id"].to_pylist()
    assert ids == to_table(SPACE, batch(), RESULTS)["episode_id"].to_pylist()
    others = to_table(SPACE, batch(60), RESULTS)["episode_id"].to_pylist()
    assert len({*ids, *others}) == 6


def test_unknown_propensities_are_empty() -> None:
    made = batch()
    unknown = Batch(
        made.first,
        made.question_ids,
        made.rows,
        made.seeds,
        made.tau,
        Drawn(made.drawn.actions, None),
        made.policy,
    )
    assert to_table(SPACE, unknown, RESULTS)["propensities"].to_pylist() == [None] * 3


def test_another_table_is_no_table_of_episodes() -> None:
    assert file_schema(SPACE, run="k").metadata[b"qstar.run"] == b"k"
    for schema in (pa.schema([]), SCHEMA.with_metadata({"qstar.schema_version": "0"})):
        with pytest.raises(UserError, match="no episodes of this version"):
            space_of(schema)
