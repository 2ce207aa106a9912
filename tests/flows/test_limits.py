"""Runs that stop at a budget, and problems that are set aside, from the command line."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.shards import limited
from tests.flows.conftest import Finished, Qstar


def parquet(out: Path, stage: str) -> dict[str, str]:
    files = sorted(out.glob(f"{stage}/*/*.parquet"))
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_a_spent_budget_stops_cleanly_and_the_same_command_goes_on(
    finished: Finished, qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sets = (f"out={out}", "runtime.workers=1", "policy.batch_size=4")
    command = ("rollouts", finished.config, *(part for one in sets for part in ("--set", one)))
    for limit, retries in ((10, 2), (150, 0)):  # of three shards of 16 samples each
        spent = ("--set", f"runtime.max_tokens={limit}", "--set", f"runtime.retries={retries}")
        result = qstar(*command, *spent, PREFECT_API_URL=prefect_server)
        text = " ".join(result.stderr.split())
        assert result.returncode == 3, text
        found = re.search(r"rollouts: runtime.max_tokens: (\d+) of (\d+) policy tokens", text)
        assert found is not None, text
        assert limit <= int(found[1]) < limit + 4 * 24  # an engine batch
        assert int(found[2]) == limit
        assert re.search(r"[0-2] of 3 shards of rollouts are finished and will be kept", text)
        assert ", and so will what was sampled for others" in text
        assert "it goes on with the" in text
        assert "Traceback" not in result.stderr and "Task run failed" not in result.stderr
    asked = {"task_runs": {"state": {"name": {"any_": ["Stopped"]}}}}
    runs = httpx.post(f"{prefect_server}/task_runs/filter", json=asked).json()
    own = [run for run in runs if run["name"].startswith("rollouts-")]
    assert own and all(run["state"]["type"] == "CANCELLED" for run in own)
    assert "policy tokens of this run are spent" in own[0]["state"]["message"]
    result = qstar(*command, PREFECT_API_URL=prefect_server)
    assert result.returncode == 0, result.stderr
    assert parquet(out, "rollouts") == parquet(finished.out, "rollouts")


def test_a_problem_too_long_for_the_model_is_quarantined_and_reported(
    config: Path, qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    rows = [{"numbers": [k, 2, 3], "target": 7} for k in range(3, 9)]
    rows.insert(2, {"numbers": [12, 11, 10, 9, 8, 7], "target": 24})
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [f"domain.train_file={file}", "domain.train_problems=null"]
    # the prompts have 6 tokens, the poisonous one 9, and the context is 128
    sets += ["rollouts.max_new_tokens=120", "rollouts.samples=1"]
    command = [part for one in sets for part in ("--set", one)]
    result = qstar("rollouts", config, *command, PREFECT_API_URL=prefect_server)
    assert result.returncode == 0, result.stderr
    [path] = (tmp_path / "out").glob("rollouts/*/manifest.json")
    manifest = json.loads(path.read_text())
    [bad] = manifest["figures"]["quarantined"]
    assert "12 11 10 9 8 7" in bad["prompt"]
    assert "exceed the model's context of 128" in bad["error"]
    assert manifest["rows"] == 6
    text = " ".join(result.stdout.split())
    assert "1 problem has no rollouts" in text
    labelled = qstar("label", config, *command, PREFECT_API_URL=prefect_server)
    assert labelled.returncode == 0, labelled.stderr


def test_a_shard_that_uses_a_model_holds_a_slot(prefect_server: str) -> None:
    spec = {"stage": "rollouts", "config": {"runtime": {"limits": ["test-gpu"]}}}
    with (
        temporary_settings({PREFECT_API_URL: prefect_server}),
        get_client(sync_client=True) as client,
    ):
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name="test-gpu", limit=2)
        )

        def taken() -> int:
            return client.read_global_concurrency_limit_by_name("test-gpu").active_slots

        with limited(spec):
            assert taken() == 1
            with limited({**spec, "stage": "labels"}), limited({"stage": "evaluation"}):
                assert taken() == 1
            for stage in ("pool_mcts", "episodes", "adaptive"):
                with limited({**spec, "stage": stage}):
                    assert taken() == 2
        assert taken() == 0
