"""Rollout rows depend neither on the number of workers, nor on batches, nor on shards."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from .conftest import ROOT, Qstar

LAYOUTS = {
    "one": ("runtime.workers=1", "policy.batch_size=32", "rollouts.shard_problems=40"),
    "two": ("runtime.workers=2", "policy.batch_size=256", "rollouts.shard_problems=17"),
    "odd": ("runtime.workers=2", "policy.batch_size=7", "rollouts.shard_problems=25"),
}


@pytest.mark.slow
def test_workers_batches_and_shards_do_not_change_a_row(
    qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    frames = {}
    for name, layout in LAYOUTS.items():
        sets = [
            f"out={tmp_path / name}",
            "domain.train_problems=40",
            "rollouts.samples=8",
            *layout,
        ]
        flags = [part for one in sets for part in ("--set", one)]
        config = ROOT / "deployments" / "demo.yaml"
        result = qstar("rollouts", config, *flags, PREFECT_API_URL=prefect_server)
        assert result.returncode == 0, result.stderr
        (folder,) = (tmp_path / name / "rollouts").iterdir()
        frames[name] = pl.read_parquet(folder / "part-*.parquet")
    assert len(frames["one"]) == 320
    assert frames["two"].equals(frames["one"])
    assert frames["odd"].equals(frames["one"])
