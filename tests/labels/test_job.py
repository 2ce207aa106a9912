"""The labels stage on published data sets: shards of any size, pools, only the files it needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as File
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qstar_core import jobs
from qstar_core.config import LabelsConfig, RunConfig
from qstar_core.labels import METHODS
from qstar_core.rollouts.sample import SCHEMA
from qstar_core.store import dataset, open_store
from tests.labels.paths import Path, arrow, table

PROBLEMS = [f"p{k}" for k in range(7)]
ROLLOUTS = [
    Path(actions, actions == "ab", "rollouts", 0, problem)
    for problem in PROBLEMS
    for actions in ("ab", "cd")
]
POOL = [Path("ced", True, "states", 1, problem) for problem in PROBLEMS]


def published(uri: str, parts: dict[str, pa.Table]) -> str:
    """A data set of tables by file name."""
    scratch = open_store(uri).scratch()
    receipts = []
    for name, rows in parts.items():
        dataset.write_table(scratch / f"{name}.parquet", rows)
        receipts.append(dataset.finish_shard(uri, name, [scratch / f"{name}.parquet"], {}))
    dataset.publish(uri, {}, receipts)
    return uri


def cut(paths: Sequence[Path], size: int, names: Sequence[str]) -> dict[str, pa.Table]:
    """Paths in shards of so many problems, named as the stages do."""
    rows, parts = arrow(paths).select(names), {}
    for start in range(0, len(PROBLEMS), size):
        stop = min(start + size, len(PROBLEMS))
        ids = pa.array(PROBLEMS[start:stop])
        chosen = rows.filter(pa.compute.is_in(rows["problem_id"], ids))
        parts[f"part-p{start:07d}-{stop:07d}"] = chosen
    return parts


@pytest.fixture
def inputs(tmp_path: File) -> dict[str, str]:
    problems = pa.table({"problem_id": PROBLEMS, "split_asked": ["train"] * len(PROBLEMS)})
    paths = arrow([]).schema.names
    return {
        "problems": published(f"{tmp_path}/problems/abc", {"part-train": problems}),
        "rollouts": published(f"{tmp_path}/rollouts/def", cut(ROLLOUTS, 3, SCHEMA.names)),
        "pool_a": published(f"{tmp_path}/pool_a/abc", cut(POOL, 2, paths)),
    }


def run(folder: File, inputs: dict[str, str], size: int, config: RunConfig) -> pl.DataFrame:
    """The rows of the stage in shards of so many problems."""
    uri, told = f"{folder}/labels/{size}", []
    for start in range(0, len(PROBLEMS), size):
        spec = {"uri": uri, "shard": f"s{start}", "inputs": inputs}
        spec |= {"start": start, "stop": start + size}
        jobs.labels(spec, config, lambda *event: told.append(event))
    files = sorted(File(uri).glob("*.parquet"))
    assert told[-1][0] == told[-1][1]  # it is done
    return pl.read_parquet(files)


METHOD: list[dict[str, Any]] = [
    {"method": "best_of_rollouts", "gamma": 0.5},
    {"method": "mean_of_rollouts"},
    {"method": "soft", "eta": 0.3},
]


@pytest.mark.parametrize("fields", METHOD, ids=[fields["method"] for fields in METHOD])
def test_rows_do_not_depend_on_the_shards(
    tmp_path: File, inputs: dict[str, str], fields: dict[str, Any]
) -> None:
    labels = LabelsConfig(**fields)
    config = RunConfig(labels=labels)
    whole = table([*ROLLOUTS, *POOL])
    expected = METHODS[labels.method](whole, labels.gamma, **labels.parameters()).collect()
    for size in (1, 2, 5, 7, 50):
        assert run(tmp_path, inputs, size, config).equals(expected)


def test_without_a_pool_it_reads_rollouts_alone(tmp_path: File, inputs: dict[str, str]) -> None:
    del inputs["pool_a"]
    expected = METHODS["best_of_rollouts"](table(ROLLOUTS), 1.0).collect()
    assert run(tmp_path, inputs, 4, RunConfig()).equals(expected)


def test_a_shard_reads_the_files_of_its_problems(tmp_path: File, inputs: dict[str, str]) -> None:
    damaged = File(inputs["rollouts"]) / "part-p0000006-0000007.parquet"
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    spec = {"uri": str(tmp_path / "labels"), "shard": "s", "inputs": inputs}
    receipt = jobs.labels(spec | {"start": 0, "stop": 6}, RunConfig(), lambda *event: None)
    assert receipt["rows"] == 24
    facts = pq.read_schema(tmp_path / "labels" / "part-s.parquet").metadata
    assert facts[b"qstar.rollouts"] == b"def"
