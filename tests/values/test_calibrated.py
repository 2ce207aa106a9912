"""What is published of a model is what its checkpoint gives, calibration included."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from qstar_core.domains.problem_table import read_problems
from qstar_core.provenance.manifests import inputs
from qstar_core.store import dataset
from qstar_core.values.score import TransformersValue
from tests.values.runs import trained


@pytest.mark.parametrize("method", ["none", "temperature", "platt"])
def test_the_checkpoint_gives_the_published_predictions(method: str) -> None:
    uri = trained(calibration=method)
    manifest = dataset.read_manifest(uri) or {}
    told = manifest["figures"]["calibration"]
    assert (told["method"], told["skipped"]) == (method, "")
    found = pl.read_parquet(dataset.data_files(uri))
    beside = inputs(uri, manifest)
    prompts = {p.id: p.prompt for p in read_problems(beside["problems"], "train")}
    labels = pl.read_parquet(dataset.data_files(beside["labels"]))
    first = labels.filter(step_index=1).select("rollout_id", "step_index", "action", "ended")
    rows = found.join(first, on=["rollout_id", "step_index"]).head(20)
    texts = [prompts[p] + action for p, action in rows.select("problem_id", "action").iter_rows()]
    scores = TransformersValue(Path(uri), "float64", "cpu", 8).score(texts, rows["ended"].to_list())
    assert scores == pytest.approx(rows["q"].to_list(), abs=1e-5)
    moved = (found["q"] - found["q_raw"]).abs().max()
    assert isinstance(moved, float) and (moved > 1e-3) == (method != "none")
    assert found["reported"].all() == (method == "none")
