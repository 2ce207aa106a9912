"""Shards that stop where the tokens of a run are spent, and go on where they stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core import worker as worker_module
from qstar_core.config import RunConfig
from qstar_core.errors import TokensSpent
from qstar_core.policies.allowance import Allowance
from qstar_core.stage import Stage
from qstar_core.store import dataset

BATCH, LONGEST = 6, 60
GIVEN: dict[str, Any] = {
    "domain": {"train_problems": 4, "test_problems": 4, "ranges": {"numbers": 4}},
    "policy": {"path": "reference:countdown-policy", "batch_size": BATCH},
    "rollouts": {"samples": 4, "max_new_tokens": LONGEST, "shard_problems": 4},
    "pools": [
        {"kind": "states", "samples": 2, "max_samples": 4, "width": 0.5, "increment": 2},
        {"kind": "mcts", "simulations": 3, "k": 2},
    ],
    "evaluation": {
        "max_policy_tokens": 60,
        "shard_problems": 4,
        "methods": [
            {"name": "best-of-N", "algorithm": "best_of_n", "n": 4},
            {"name": "A*", "algorithm": "astar", "k": 3, "n": 2},
        ],
    },
    "adaptive": {
        "factors": [{"name": "temperature", "values": [0.2, 1.0]}],
        "episodes": 8,
        "batch_size": 4,
        "logged": "all",
        "source": "logged",
    },
    "runtime": {"threads": 1},
}
SEARCHED = {"qvm": {"path": "reference:countdown-qvm"}}
STAGES = ("problems", "rollouts", "pool_states", "pool_mcts", "episodes", "evaluation")


def planned(out: Path) -> dict[str, tuple[Stage, RunConfig]]:
    """Stages up to the pools of a run that trains, the others of one that is given a model."""
    found = {}
    for more in (SEARCHED, {}):
        run = RunConfig.model_validate({**GIVEN, **more, "out": str(out)})
        found |= {name: (stage, run) for name, stage in pipeline.plan(run).items()}
    run = RunConfig.model_validate({**GIVEN, **SEARCHED, "out": str(out)})
    return found | {"evaluation": (pipeline.plan(run)["evaluation"], run)}


def quiet(*_: object) -> None:
    pass


def make(stage: Stage, run: RunConfig, limit: int | None = None) -> tuple[int, list[int]]:
    """Makes a stage; how often it was stopped, and what was spent by each run."""
    receipts, stops, spent = [], 0, list[int]()
    for spec in pipeline.shards(stage, run):
        while True:
            allowance = None if limit is None else Allowance(None, limit)
            meter = allowance and {"path": str(allowance.path), "limit": limit, "spent": 0}
            try:
                receipts.append(worker_module._run({**spec, "meter": meter}, quiet))
            except TokensSpent:
                stops += 1
                continue
            finally:
                if allowance is not None:
                    spent.append(allowance.spent)
                    allowance.close()
            break
    pipeline.publish(stage, run, receipts)
    return stops, spent


def content(stage: Stage) -> dict[str, str]:
    files = sorted(map(Path, dataset.data_files(stage.uri)))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def tokens(stage: Stage) -> Any:
    manifest = pipeline.published(stage)
    assert manifest is not None
    return manifest["figures"].get("tokens")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    stages = planned(tmp_path_factory.mktemp("whole"))
    for name in STAGES:
        make(*stages[name])
    return {name: stage for name, (stage, _) in stages.items()}


def test_a_stopped_run_pays_for_nothing_twice_and_ends_in_the_same_rows(
    whole: dict[str, Stage], tmp_path: Path
) -> None:
    stages, limit = planned(tmp_path), 90
    for name in STAGES:
        stage, run = stages[name]
        stops, spent = make(stage, run, limit)
        assert content(stage) == content(whole[name]), name
        assert tokens(stage) == tokens(whole[name]), name
        assert all(took < limit + BATCH * LONGEST for took in spent), name
        assert stops or name == "problems", name
        assert not list(Path(stage.uri).glob("**/*.jsonl")), name


def test_a_worker_says_that_the_tokens_are_spent(tmp_path: Path) -> None:
    stages = planned(tmp_path)
    make(*stages["problems"])
    [spec] = pipeline.shards(*stages["rollouts"])
    allowance = Allowance(None, 1)
    allowance.claim([1], 1)
    allowance.settle(1, 1)
    job = {
        "id": 7,
        "spec": {**spec, "meter": {"path": str(allowance.path), "limit": 1, "spent": 0}},
    }
    with (tmp_path / "events").open("w+") as out:
        event = worker_module._serve(json.loads(json.dumps(job)), out)
    assert (event["event"], event["kind"]) == ("error", "spent")
    assert event["what"] == "the 1 policy tokens of this run are spent"
    assert pipeline.finished(spec) is None
    allowance.close()
