"""Expert iteration through the real command line: the example, much smaller, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks.kill_nine import parquet_files
from qstar_core.store import dataset
from tests.processes import PATIENCE_S, children, ended, wait_until

from .conftest import PATIENT, ROOT, Qstar

EXAMPLE = ROOT / "deployments" / "expert-iteration.yaml"
SMALL = [
    "domain.train_problems=60",
    "domain.test_problems=16",
    "domain.ranges={numbers: 3, max_number: 8, min_target: 1, max_target: 20}",
    "rollouts.samples=4",
    "qvm.epochs=1.0",
    "qvm.warmup_steps=1",
    "qvm.bf16=false",
    "sft.min_problems=5",
    "sft.bf16=false",
    "sft.batch_size=4",
    "sft.eval_every=3",
    "evaluation.max_policy_tokens=80",
    "evaluation.bootstrap_samples=200",
    "evaluation.report_trees=2",
    "runtime.threads=1",
]


def arguments(out: Path, *more: str) -> list[str]:
    sets = [word for each in (*SMALL, *more) for word in ("--set", each)]
    return [str(EXAMPLE), "--out", str(out), *sets]


def manifests(out: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(file.read_text()) for file in (out / kind).glob("*/manifest.json")]
    return sorted(found, key=lambda manifest: str(manifest["created"]))


def weights(out: Path) -> str:
    """The sha256 of the fine-tuned policy."""
    [policy] = manifests(out, "sft")
    return str(next(e["sha256"] for e in policy["files"] if e["name"] == "model.safetensors"))


def test_the_plan_shows_all_rounds_and_refuses_what_it_has_not(
    qstar: Qstar, tmp_path: Path
) -> None:
    shown = qstar("run", *arguments(tmp_path / "out"), "--rounds", "3", "--plan")
    assert shown.returncode == 0, shown.stderr
    for row in ("sft ", "sft (2)", "rollouts (3)", "evaluation (3)", "rounds "):
        assert f"\n{row}" in shown.stdout
    assert "problems (2)" not in shown.stdout and "sft (3)" not in shown.stdout
    alone = qstar("train-policy", *arguments(tmp_path / "out"))
    assert alone.returncode == 2
    assert "sft: its input problems is not there yet" in alone.stderr
    assert "Next: qstar rollouts" in alone.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_rounds(qstar: Qstar, prefect_server: str, tmp_path: Path) -> None:
    out, env = tmp_path / "out", {"PREFECT_API_URL": prefect_server}
    done = qstar("run", *arguments(out), **env)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("Round 1 of 2: reference:countdown-policy", "Round 2 of 2: ", "p (Holm)"):
        assert line in done.stdout
    one, two = manifests(out, "rollouts")
    [policy] = manifests(out, "sft")
    assert policy["inputs"]["rollouts"] == one["key"]
    assert two["rows_from"]["policy"] == f"sft:{policy['key']}:float64"
    assert two["config"]["policy"]["path"] == policy["uri"]
    [rounds] = manifests(out, "rounds")
    rows = pl.read_parquet(dataset.data_files(rounds["uri"]))
    assert rows.group_by("round").len()["len"].to_list() == [3, 3]
    assert len(manifests(out, "problems")) == 1
    assert not list(out.rglob(".writing"))

    again = qstar("run", *arguments(out), **env)
    assert "Everything is already there: 14 data sets" in again.stdout
    # the policy in a run of its own: the second round's data sets are those of this run
    used = qstar("run", *arguments(out, f"policy.path={policy['uri']}"), "--rounds", "1", "--plan")
    assert used.stdout.count("already there") == 6, used.stdout + used.stderr
    for command in ("lineage", "verify"):
        assert qstar(command, rounds["uri"]).returncode == 0
    same = qstar("reproduce", policy["uri"], **env)
    assert same.returncode == 0 and "equal byte for byte" in same.stdout, same.stderr


@pytest.mark.slow
def test_a_killed_training_of_the_policy_ends_in_equal_weights(
    qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    env = {"PREFECT_API_URL": prefect_server}
    more = ("sft.epochs=12.0", "sft.eval_every=1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    made = qstar("rollouts", *arguments(whole, *more), **env)
    assert made.returncode == 0, made.stderr
    for stage in ("problems", "rollouts"):
        (killed / stage).parent.mkdir(exist_ok=True)
        os.symlink(whole / stage, killed / stage, target_is_directory=True)
    command = [sys.executable, "-m", "flows.cli", "train-policy", *arguments(killed, *more)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **PATIENT, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def under_way() -> bool:
        assert process.poll() is None, process.communicate()
        return bool(list(killed.glob("sft/*/.writing/kept/*/checkpoint-[3-9]/trainer_state.json")))

    wait_until(under_way, "some checkpoints are written")
    workers = children(process.pid, "qstar_core.worker")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    wait_until(lambda: all(ended(worker.pid) for worker in workers), "the workers end")
    assert not manifests(killed, "sft")
    assert list(killed.glob("sft/*/.writing/kept/*/checkpoint-*"))
    for out in (whole, killed):
        done = qstar("train-policy", *arguments(out, *more), **env)
        assert done.returncode == 0, done.stderr
        assert "qstar run CONFIG --set policy.path=" in done.stdout
    assert weights(killed) == weights(whole)
    assert not list(killed.rglob(".writing"))
    names = [name for name in parquet_files(killed) if name.startswith("sft/")]
    assert names and all(parquet_files(whole)[n] == parquet_files(killed)[n] for n in names)
