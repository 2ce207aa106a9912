"""Pools and rounds from the command line."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import commands, inspect, rollouts, stages
from qstar_core.config import RunConfig
from qstar_core.stage import Stage

from .conftest import Finished, Qstar

POOLS = """
pools:
  - {kind: states, samples: 2, max_samples: 6, width: 0.4, increment: 2}
  - {kind: mcts, simulations: 3, k: 2}
"""
KINDS = ("states", "mcts")
ROUNDS = "\nlabels: {method: fitted_q, rounds: 2}\n"


def written(finished: Finished, folder: Path, more: str) -> Path:
    """The configuration of the tiny run with more in it, a folder and the embedded policy."""
    text = finished.config.read_text(encoding="utf-8")
    text = re.sub(r"policy: {path: [^,]+", "policy: {path: reference:countdown-policy", text)
    text = text.replace("shard_problems: 4", "shard_problems: 6")
    folder.mkdir()
    path = folder / "pools.yaml"
    path.write_text(text.replace(str(finished.out), str(folder / "out")) + more, encoding="utf-8")
    return path


def parquet(out: Path, stage: str) -> dict[str, str]:
    files = sorted(out.glob(f"{stage}/*/*.parquet"))
    names = (str(f.relative_to(out)) for f in files)
    return dict(
        zip(names, (hashlib.sha256(f.read_bytes()).hexdigest() for f in files), strict=True)
    )


def test_pools_need_no_problems_to_evaluate_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []

    class Shop:
        def make(self, stage: Stage) -> dict[str, str]:
            made.append(stage.name)
            return {"uri": stage.uri}

    file = tmp_path / "train.jsonl"
    file.write_text('{"question": "?", "answer": "#### 5"}\n', encoding="utf-8")
    domain = {"name": "gsm8k", "train_file": str(file)}
    given = {"out": str(tmp_path), "domain": domain, "pools": [{"kind": "states"}]}
    config = RunConfig.model_validate(given)
    monkeypatch.setattr(rollouts, "workshop", lambda config: nullcontext(Shop()))
    assert list(rollouts.pools.fn(config)) == ["pool_states"]
    assert made == ["problems", "rollouts", "pool_states"]
    run = SimpleNamespace(flow_name="pools", parameters={"config": config})
    monkeypatch.setattr(stages, "runtime", SimpleNamespace(flow_run=run))
    assert stages.run_name().startswith("pools-")
    asked: list[list[str]] = []

    def all_there(wanted: dict[str, Stage]) -> dict[str, Any]:
        asked.append(list(wanted))
        return {}

    monkeypatch.setattr(inspect, "all_published", all_there)
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({**given, "pools": []}), encoding="utf-8")
    commands.pools(str(path), None, None, False)
    assert asked == [["pool_states"]]


@pytest.mark.slow
def test_pools_of_a_run_that_was_stopped_have_the_rows_of_one_that_was_not(
    finished: Finished, qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    whole = written(finished, tmp_path / "whole", POOLS)
    api = {"PREFECT_API_URL": prefect_server}
    plan = qstar("run", whole, "--plan")
    for kind in KINDS:
        assert f"pool_{kind}" in plan.stdout
    result = qstar("rollouts", whole, "--from-states", **api)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "whole" / "out"
    manifests = [json.loads(p.read_text()) for p in out.glob("pool/*/manifest.json")]
    assert {m["rows_from"]["kind"] for m in manifests} == set(KINDS)
    assert all(m["uri"] in result.stdout for m in manifests)
    shown = qstar("show", next(m["uri"] for m in manifests if m["rows_from"]["kind"] == "mcts"))
    assert "pool of kind mcts" in shown.stdout

    again = qstar("rollouts", whole, "--from-states", PREFECT_HOME=str(tmp_path / "prefect"))
    assert "already there" in again.stdout and not (tmp_path / "prefect").exists()

    stopped = written(finished, tmp_path / "stopped", POOLS)
    one = ("--set", "runtime.workers=1")
    ends = []
    for _ in range(10):
        result = qstar(
            "rollouts", stopped, "--from-states", *one, "--set", "runtime.max_tokens=600", **api
        )
        ends.append(result.returncode)
        if result.returncode == 0:
            break
        assert result.returncode == 3, result.stderr
    assert ends.count(3) >= len(KINDS) and ends[-1] == 0
    for stage in ("rollouts", "pool"):
        assert parquet(tmp_path / "stopped" / "out", stage) == parquet(out, stage)


def test_from_states_without_a_pool_makes_one_and_says_so(
    finished: Finished, qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    config = written(finished, tmp_path / "none", "")
    result = qstar("rollouts", config, "--from-states", PREFECT_API_URL=prefect_server)
    assert result.returncode == 0, result.stderr
    assert "pools: [{kind: states}]" in result.stdout
    [manifest] = (tmp_path / "none" / "out").glob("pool/*/manifest.json")
    assert json.loads(manifest.read_text())["rows_from"]["kind"] == "states"


def test_a_run_with_rounds_names_them(
    finished: Finished, qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    config = written(finished, tmp_path / "rounds", ROUNDS + POOLS)
    missing = qstar("label", config)
    assert missing.returncode == 2 and "qstar rollouts" in missing.stderr
    result = qstar("run", config, PREFECT_API_URL=prefect_server)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("labels_1", "qvm_1", "pool_states"):
        assert result.stdout.count(name) >= 2  # while it runs, and at the end
    out = tmp_path / "rounds" / "out"
    manifests = [json.loads(p.read_text()) for p in out.glob("labels/*/manifest.json")]
    assert sorted(m["rows_from"]["round"] for m in manifests) == [1, 2]
    second = next(m for m in manifests if m["rows_from"]["round"] == 2)
    shown = qstar("show", second["uri"])
    assert "labels, round 2 of fitted Q iteration" in shown.stdout
    again = qstar("label", config)
    assert again.returncode == 0 and "already there" in again.stdout
