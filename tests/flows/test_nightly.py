"""The whole pipeline through the real command line, on a tiny run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.kill_nine import parquet_files
from tests.processes import PATIENCE_S, children, ended, has_loaded, wait_until
from tests.test_startup import loaded_packages

from .conftest import ROOT, Finished, Qstar, call

STAGES = ("problems", "rollouts", "labels", "qvm", "evaluation", "report")
SHARDS = {"problems": 2, "rollouts": 3, "labels": 1, "qvm": 1, "evaluation": 6, "report": 1}
ENDLESS = ("--set", "rollouts.samples=5000", "--set", "domain.ranges.numbers=4")


def manifest(out: Path, stage: str) -> dict[str, Any]:
    (found,) = (out / stage).glob("*/manifest.json")
    loaded: dict[str, Any] = json.loads(found.read_text())
    return loaded


def test_a_run_ends_with_the_table_and_the_way_to_the_report(finished: Finished) -> None:
    shown = finished.result.stdout
    for word in ("greedy", "best-of-N", "A*", "baseline", "Results", "Manifests", "Next:"):
        assert word in shown
    report = Path(manifest(finished.out, "report")["uri"]) / "report.html"
    assert report.stat().st_size > 1000
    assert str(report) in shown
    assert finished.result.stderr == ""


def test_rollouts_labels_and_evaluations_have_a_card(finished: Finished, qstar: Qstar) -> None:
    for stage in STAGES:
        entries = {entry["name"]: entry for entry in manifest(finished.out, stage)["files"]}
        assert ("CARD.md" in entries) == (stage in ("rollouts", "labels", "evaluation"))
    labels = manifest(finished.out, "labels")
    text = (Path(labels["uri"]) / "CARD.md").read_bytes()
    entry = labels["files"][-1]
    assert (entry["name"], entry["sha256"]) == ("CARD.md", hashlib.sha256(text).hexdigest())
    assert f"run key | `{labels['key']}`".encode() in text
    done = qstar("audit", labels["uri"], "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == labels["rows"] and found["leakage"]["same"] == 0
    assert {row["method"] for row in found["truth"]["rows"]} >= {"fitted_q", "soft", "mcts_pool"}


def test_every_stage_is_published_with_its_shards(finished: Finished) -> None:
    assert sorted(p.name for p in finished.out.iterdir()) == sorted([*STAGES, "logs"])
    for stage in STAGES:
        assert len(manifest(finished.out, stage)["shards"]) == SHARDS[stage]
    assert not list(finished.out.rglob(".writing"))


def test_every_task_run_is_on_record(finished: Finished) -> None:
    with sqlite3.connect(finished.home / "prefect.db") as database:
        ((flow_id, name, state),) = database.execute("select id, name, state_type from flow_run")
        tasks = database.execute(
            "select name, state_type from task_run where flow_run_id = ?", (flow_id,)
        ).fetchall()
        artifacts = {key for (key,) in database.execute("select key from artifact")}
    key = manifest(finished.out, "report")["key"]
    assert (name, state) == (f"nightly-tiny-{key[:8]}", "COMPLETED")
    assert Counter(state for _, state in tasks) == {
        "COMPLETED": sum(SHARDS.values()) + len(STAGES) + 2
    }
    for stage in STAGES:
        prefix = f"{stage}-"
        assert sum(task.startswith(prefix) for task, _ in tasks) == SHARDS[stage]
        assert (f"publish-{stage}", "COMPLETED") in tasks
    assert {"comparison", "report"} <= artifacts


def test_second_run_says_so_and_does_not_start_prefect(
    finished: Finished, qstar: Qstar, tmp_path: Path
) -> None:
    home = str(tmp_path / "prefect")
    again = qstar("run", finished.config, PREFECT_HOME=home, PYTHONPROFILEIMPORTTIME="1")
    assert again.returncode == 0, again.stderr
    assert "Everything is already there" in again.stdout
    assert "best-of-N" in again.stdout
    assert not (tmp_path / "prefect").exists()
    # What would take the time: some seconds each.
    assert not loaded_packages(again.stderr) & {"prefect", "torch", "transformers"}


def test_plan_writes_nothing(config: Path, finished: Finished, qstar: Qstar) -> None:
    fresh = qstar("run", config, "--plan")
    assert fresh.returncode == 0, fresh.stderr
    assert fresh.stdout.count("will run") == len(STAGES)
    assert not (config.parent / "out").exists()
    there = qstar("run", finished.config, "--plan", "--set", "evaluation.max_policy_tokens=41")
    assert there.stdout.count("already there") == 4
    assert there.stdout.count("will run") == 2


@pytest.mark.parametrize("command", ["rollouts", "label", "train-qvm", "evaluate", "report"])
def test_stage_commands_know_what_is_there(
    finished: Finished, qstar: Qstar, command: str, tmp_path: Path
) -> None:
    result = qstar(command, finished.config, PREFECT_HOME=str(tmp_path / "prefect"))
    assert result.returncode == 0, result.stderr
    assert "already there" in result.stdout
    assert not (tmp_path / "prefect").exists()


@pytest.mark.parametrize(
    ("command", "stages"), [("label", ["labels"]), ("evaluate", ["problems", "evaluation"])]
)
def test_stage_alone_gives_the_same_rows(
    finished: Finished,
    qstar: Qstar,
    prefect_server: str,
    tmp_path: Path,
    command: str,
    stages: list[str],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    for stage in stages:
        shutil.rmtree(out / stage)
    result = qstar(command, finished.config, "--set", f"out={out}", PREFECT_API_URL=prefect_server)
    assert result.returncode == 0, result.stderr
    assert parquet_files(out) == parquet_files(finished.out)
    if command == "evaluate":  # shows what it found
        assert "accuracy" in result.stdout and "qstar explain" in result.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_show(finished: Finished, qstar: Qstar, stage: str) -> None:
    made = manifest(finished.out, stage)
    result = qstar("show", made["uri"])
    assert result.returncode == 0, result.stderr
    assert made["key"] in result.stdout
    for column, _ in made["schema"]:
        assert column in result.stdout


def test_failed_shards_are_retried_then_explained(config: Path, prefect_server: str) -> None:
    limits = ("--set", "runtime.stall_timeout_s=0.05", "--set", "runtime.retries=1")
    # workers that have yet to import: no shard is made in such a time
    result = call("run", config, *limits, PREFECT_API_URL=prefect_server)
    assert result.returncode == 1, result.stdout + result.stderr
    assert result.stderr.count("trying again") == 2
    assert "Error: problems: 2 of 2 shards failed" in result.stderr
    assert "no progress for 0.05 s" in result.stderr
    assert "Next: run the same command again" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((config.parent / "out").rglob("manifest.json"))


def test_interpreter_that_is_not_there(config: Path, qstar: Qstar, prefect_server: str) -> None:
    result = qstar(
        "run", config, "--set", "runtime.python=/no/python", PREFECT_API_URL=prefect_server
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert "runtime.python: cannot start /no/python" in result.stderr
    assert "Traceback" not in result.stderr


def begin(config: Path, api: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts ``qstar rollouts`` in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "rollouts", str(config), *arguments],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": api},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_rollouts(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Waits until a worker is busy with rollouts; returns all workers.

    The problems are made without torch. So a worker that loads it has been handed its first shard
    of rollouts; before that a worker may be idle between two stages.
    """

    def workers() -> list[psutil.Process]:
        return children(process.pid, "qstar_core.worker")

    def sampling() -> bool:
        assert process.poll() is None, process.communicate()
        return any(has_loaded(worker, "libtorch") for worker in workers())

    wait_until(sampling, "a worker loads torch")
    return workers()


@pytest.mark.parametrize("terminated", [False, True])
def test_ctrl_c_and_term_end_at_once_and_name_the_way_on(
    config: Path, prefect_server: str, terminated: bool
) -> None:
    process = begin(config, prefect_server, *ENDLESS)
    workers = wait_for_rollouts(process)
    if terminated:  # as a batch system does
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == (143 if terminated else 130)
    assert stderr.startswith(f"Error: {'terminated' if terminated else 'interrupted'}")
    assert "\nSafe: " in stderr
    assert f"Next: qstar rollouts {config}" in stderr
    assert "Traceback" not in stderr
    wait_until(lambda: all(ended(worker.pid) for worker in workers), "the workers end")


def test_a_killed_worker_is_replaced(config: Path, finished: Finished, prefect_server: str) -> None:
    process = begin(config, prefect_server, "--set", "runtime.workers=1")
    for worker in wait_for_rollouts(process):
        worker.kill()
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stdout + stderr
    assert "SIGKILL; trying again" in stderr
    made = parquet_files(config.parent / "out")
    undisturbed = parquet_files(finished.out)
    assert made == {name: undisturbed[name] for name in made}
    assert any(name.startswith("rollouts/") for name in made)
