"""The end of every shard: its files are finished, its scratch folder goes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from qstar_core.memory import give_back
from qstar_core.store import dataset, open_store

Spec = dict[str, Any]
Receipt = dict[str, Any]


def finish(spec: Spec, tables: dict[str, pa.Table], figures: dict[str, Any]) -> Receipt:
    """Writes tables as Parquet files of the shard and finishes it."""
    scratch = open_store(spec["uri"]).scratch()
    files = []
    for name, table in tables.items():
        files.append(scratch / f"{name}.parquet")
        dataset.write_table(files[-1], table)
    return put(spec, scratch, files, figures)


def put(spec: Spec, scratch: Path, files: list[Path], figures: dict[str, Any]) -> Receipt:
    """Finishes the shard with the files it has written to a scratch folder."""
    where, environment = (spec["uri"], spec["shard"]), spec.get("environment")
    receipt = dataset.finish_shard(*where, files, figures, environment)
    shutil.rmtree(scratch, ignore_errors=True)
    give_back()
    return receipt
