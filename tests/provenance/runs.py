"""Small data sets for the tests: a run up to its labels without Prefect, and tables by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.jobs import JOBS
from qstar_core.keys import content_id
from qstar_core.store import dataset, open_store
from tests.models import tiny_policy

TREE: dict[str, Any] = {
    "name": "small",
    "domain": {
        "train_problems": 12,
        "test_problems": 4,
        "ranges": {
            "numbers": 3,
            "min_number": 1,
            "max_number": 5,
            "min_target": 1,
            "max_target": 20,
        },
    },
    "rollouts": {"samples": 4, "max_new_tokens": 24, "shard_problems": 4},
    "runtime": {"workers": 1, "threads": 1},
}


def config_of(out: str, **sections: Any) -> RunConfig:
    """The small run, with other values for whole sections."""
    policy = {"path": str(tiny_policy()), "batch_size": 16}
    return RunConfig.model_validate({**TREE, "policy": policy, "out": out, **sections})


def make(
    config: RunConfig, last: str = "labels", stages: dict[str, pipeline.Stage] | None = None
) -> dict[str, pipeline.Stage]:
    """Makes the stages of a run in this process, up to one of them; returns the plan.

    Args:
        config: of the run.
        last: the stage to end with.
        stages: the plan, if it is another one than that of ``qstar run``.
    """
    stages = stages or pipeline.plan(config, until=last)
    for stage in stages.values():
        if pipeline.published(stage) is None:
            with pipeline.making(stage, lambda by: None):
                specs = pipeline.shards(stage, config)
                receipts = [JOBS[stage.kind](s, config, lambda *_: None) for s in specs]
                pipeline.publish(stage, config, receipts)
        if stage.name == last:
            break
    return stages


def publish(
    out: str, tables: list[pa.Table], kind: str = "rollouts", inputs: dict[str, str] | None = None
) -> str:
    """A data set of one shard per table below an output folder; returns its folder."""
    rows_from = {"stage": kind, "tables": repr([table.to_pylist() for table in tables])}
    key = content_id(rows_from)
    uri = f"{out}/{kind}/{key}"
    receipts = []
    for number, table in enumerate(tables):
        shard = f"p{number * 4:07d}-{number * 4 + 4:07d}"
        file = open_store(uri).scratch() / f"part-{shard}.parquet"
        dataset.write_table(file, table)
        receipts.append(dataset.finish_shard(uri, shard, [file], {"seconds": 1.0}))
    head = {
        "kind": kind,
        "key": key,
        "rows_from": rows_from,
        "config": {},
        "inputs": inputs or {},
    }
    dataset.publish(uri, head, receipts)
    return uri


def edit(folder: str | Path, change: Callable[[dict[str, Any]], Any], name: str = "") -> None:
    """Changes the manifest of a local data set, or a receipt."""
    path = Path(folder) / (name or dataset.MANIFEST)
    tree = json.loads(path.read_text(encoding="utf-8"))
    change(tree)
    path.write_text(json.dumps(tree), encoding="utf-8")


def flip(path: Path, position: int, bits: int = 1) -> None:
    """Changes one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= bits
    path.write_bytes(bytes(content))


def swap(one: Path, other: Path) -> None:
    """Exchanges the contents of two files."""
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
