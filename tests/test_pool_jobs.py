"""Pools and rounds of fitted Q iteration as shards, one after the other in this process."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.jobs import JOBS, read_problems
from qstar_core.labelling import input_of
from qstar_core.loading import load_value
from qstar_core.rollouts.paths import PATHS
from qstar_core.stage import Stage
from qstar_core.store import dataset
from tests.models import tiny_policy

POOLS: list[dict[str, Any]] = [
    {"kind": "states", "samples": 2, "max_samples": 6, "width": 0.5, "increment": 2},
    {"kind": "stronger", "temperature": 0.3, "samples": 2},
    {"kind": "mcts", "simulations": 4, "k": 2},
    {"kind": "binary_search", "samples": 2},
]
NAMES = [f"pool_{pool['kind']}" for pool in POOLS]


def config(out: Path, **more: Any) -> RunConfig:
    given: dict[str, Any] = {
        "out": str(out),
        "domain": {"train_problems": 9, "test_problems": 2, "ranges": {"numbers": 4}},
        "rollouts": {"samples": 4, "max_new_tokens": 60, "shard_problems": 4},
        "qvm": {"epochs": 1.0, "batch_size": 8, "warmup_steps": 1, "bf16": False, "holdout": 0.3},
        "pools": POOLS,
        **more,
    }
    return RunConfig.model_validate(given)


def make(stage: Stage, run: RunConfig) -> dict[str, Any]:
    """Makes a stage as the flows do, without Prefect and workers; its manifest."""
    done = pipeline.published(stage)
    if done is not None:
        return done
    receipts = []
    for spec in pipeline.shards(stage, run):
        spec = {**spec, "environment": {}}
        receipts.append(JOBS[stage.kind](spec, run, lambda *_: None))
    return pipeline.publish(stage, run, receipts)


def make_up_to(run: RunConfig, last: str) -> dict[str, Stage]:
    stages = pipeline.plan(run)
    for name, stage in stages.items():
        make(stage, run)
        if name == last:
            break
    return stages


def frame(stage: Stage) -> pl.DataFrame:
    return pl.read_parquet(dataset.data_files(stage.uri))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunConfig, dict[str, Stage]]]:
    run = config(tmp_path_factory.mktemp("pools"))
    yield run, make_up_to(run, "labels")


@pytest.mark.parametrize("name", NAMES)
def test_a_pool_is_a_data_set_of_paths(made: tuple[RunConfig, dict[str, Stage]], name: str) -> None:
    run, stages = made
    manifest = pipeline.published(stages[name])
    assert manifest is not None
    assert manifest["kind"] == "pool" and len(manifest["shards"]) == 3
    assert manifest["inputs"] == {n: stages[n].key for n in ("problems", "rollouts")}
    rows = frame(stages[name])
    assert manifest["rows"] == len(rows) > 0
    assert rows.columns == PATHS.names
    assert rows["rollout_id"].n_unique() == len(rows)
    assert set(rows["source"]) == {name.removeprefix("pool_")}
    tokens = manifest["figures"]["tokens"]  # a tree search samples more than its paths hold
    assert tokens > rows["tokens"].sum() if name == "pool_mcts" else tokens == rows["tokens"].sum()
    known = {step["action_id"] for steps in frame(stages["rollouts"])["steps"] for step in steps}
    if name != "pool_mcts":
        for steps, given in rows.select("steps", "prefix_steps").iter_rows():
            assert given > 0 and all(step["action_id"] in known for step in steps[:given])
    estimate = pipeline.estimate(stages[name], run)
    assert manifest["figures"]["tokens"] <= estimate["policy_tokens"] * 1.5


def test_rows_do_not_depend_on_shards_and_batches(
    made: tuple[RunConfig, dict[str, Stage]], tmp_path: Path
) -> None:
    _, stages = made
    rollouts = {"samples": 4, "max_new_tokens": 60, "shard_problems": 2}
    other = config(tmp_path, rollouts=rollouts, policy={"batch_size": 5})
    again = make_up_to(other, "labels")
    for name in ("rollouts", *NAMES, "labels"):
        assert again[name].key == stages[name].key
        assert frame(again[name]).equals(frame(stages[name]))


def test_labels_are_of_the_rollouts_alone_and_know_the_pools(
    made: tuple[RunConfig, dict[str, Stage]], tmp_path: Path
) -> None:
    _, stages = made
    labels = frame(stages["labels"])
    assert set(labels["rollout_id"]) == set(frame(stages["rollouts"])["rollout_id"])
    assert set(stages["labels"].inputs) == {"problems", "rollouts", *NAMES}
    plain = make_up_to(config(tmp_path, pools=[]), "labels")
    without = frame(plain["labels"])
    assert labels["rollout_id"].to_list() == without["rollout_id"].to_list()
    assert (labels["y"] >= without["y"]).all()  # more is seen
    assert labels["y"].sum() > without["y"].sum()


def test_another_policy_samples_the_stronger_pool(tmp_path: Path) -> None:
    pool = {"kind": "stronger", "policy": {"path": str(tiny_policy())}}
    run = config(tmp_path, pools=[pool])
    stages = make_up_to(run, "pool_stronger")
    rows = frame(stages["pool_stronger"])
    assert set(rows["policy"]) == {stages["pool_stronger"].rows["policy"]}
    assert set(rows["policy"]) != set(frame(stages["rollouts"])["policy"])
    assert set(rows["temperature"]) == {0.0} and set(rows["sample_index"]) == {0}


def test_the_rounds_of_fitted_q(tmp_path: Path) -> None:
    labels = {"method": "fitted_q", "rounds": 2, "gamma": 0.9}
    run = config(tmp_path, labels=labels, pools=POOLS[:1])
    stages = make_up_to(run, "qvm")
    first, last = frame(stages["labels_1"]), frame(stages["labels"])
    ends = pl.col("step_index") == pl.col("n_steps")
    reward = (pl.col("outcome") == "correct").cast(pl.Float64)
    assert first.filter(~ends)["y"].max() == 0.0
    for round_ in (first, last):
        assert round_.filter(ends & (pl.col("y") != reward)).is_empty()
        assert set(round_["method"]) == {"fitted_q"}
    assert stages["qvm_1"].key != stages["qvm"].key
    check_targets(run, stages, last)


def check_targets(run: RunConfig, stages: dict[str, Stage], last: pl.DataFrame) -> None:
    """Compares the labels of round 2 with those worked out one by one."""
    folder = dataset.local_folder(stages["qvm_1"].uri)
    value = load_value(folder, run)
    prompts = {p.id: p.prompt for p in read_problems(stages["problems"].uri, "train")}
    steps = {
        step["action_id"]: (step["state_id"], prompts[problem] + text, step["ended"])
        for stage in ("rollouts", "pool_states")
        for problem, path in frame(stages[stage]).select("problem_id", "steps").iter_rows()
        for text, step in zip(prefixes(path), path, strict=True)
    }
    following: dict[str, list[tuple[str, bool]]] = {}
    for state, text, ended in steps.values():
        following.setdefault(state, []).append((text, ended))
    next_state = {}
    for stage in ("rollouts", "pool_states"):
        for (path,) in frame(stages[stage]).select("steps").iter_rows():
            for here, after in pairwise(path):
                next_state[here["action_id"]] = after["state_id"]
    checked = 0
    for row in last.filter(pl.col("step_index") < pl.col("n_steps")).iter_rows(named=True):
        actions = following[next_state[row["action_id"]]]
        best = max(value.score([t for t, _ in actions], [e for _, e in actions]))
        assert row["y"] == pytest.approx(0.9 * best, abs=1e-5)
        checked += 1
    assert checked > 20


def prefixes(path: list[dict[str, Any]]) -> list[str]:
    return ["".join(step["text"] for step in path[: k + 1]) for k in range(len(path))]


def test_the_input_of_a_kind_whatever_its_name() -> None:
    spec = {"inputs": {"problems": "p", "labels_2": "l", "qvm_1": "q"}}
    assert [input_of(spec, kind) for kind in ("labels", "qvm", "pool")] == ["l", "q", None]
