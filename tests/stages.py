"""Stages of a run, made in the process of the test as a flow has workers make them."""

from __future__ import annotations

from typing import Any

import polars as pl

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.jobs import JOBS
from qstar_core.store import dataset


def make(run: RunConfig, *names: str) -> dict[str, dict[str, Any]]:
    """Makes stages, in this order; returns their manifests."""
    stages = pipeline.plan(run, until="qvm" if "qvm" in names else "labels")
    manifests = {}
    for name in names:
        specs = pipeline.shards(stages[name], run)
        receipts = [JOBS[name](spec, run, lambda *_: None) for spec in specs]
        manifests[name] = pipeline.publish(stages[name], run, receipts)
    return manifests


def rows(run: RunConfig, name: str) -> pl.DataFrame:
    """The rows of a stage up to the labels."""
    return pl.read_parquet(dataset.data_files(pipeline.plan(run, until="labels")[name].uri))
