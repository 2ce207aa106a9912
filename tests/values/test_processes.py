"""Training in other processes: several at once, and one that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core.config import (
    CountdownRanges,
    DomainConfig,
    PolicyConfig,
    QvmConfig,
    RolloutsConfig,
    RunConfig,
)
from qstar_core.store import dataset, open_store
from tests.models import tiny_policy
from tests.processes import PATIENCE_S, wait_until
from tests.stages import make

ROOT = Path(__file__).parents[2]


def losses(out: Path, processes: int) -> list[float]:
    """Of the updates of a training by some processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    common |= {"WORLD_SIZE": str(processes), "PYTHONPATH": str(ROOT)}
    out.mkdir()
    command = [sys.executable, "-m", "tests.values.one_of_several", str(out)]
    started = []
    for rank in range(processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        started.append(subprocess.Popen(command, env={**common, **own}, cwd=ROOT))
    try:
        assert [each.wait(PATIENCE_S) for each in started] == [0] * processes
    finally:
        for each in started:
            each.kill()
    found = json.loads((out / "losses.json").read_text(encoding="utf-8"))
    assert found["processes"] == processes
    return list(found["losses"])


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    one, two = losses(tmp_path / "one", 1), losses(tmp_path / "two", 2)
    assert len(one) == 12 and one[-1] < one[0]
    assert two == pytest.approx(one, rel=2e-3)


def prepared(out: Path) -> RunConfig:
    """A run whose labels are made."""
    run = RunConfig(
        out=str(out),
        policy=PolicyConfig(path=str(tiny_policy())),
        domain=DomainConfig(train_problems=40, test_problems=2, ranges=CountdownRanges(numbers=3)),
        rollouts=RolloutsConfig(samples=4, max_new_tokens=30),
        qvm=QvmConfig(epochs=30.0, batch_size=16, save_every=20),
    )
    make(run, "problems", "rollouts", "labels")
    return run


def worked_on(run: RunConfig, killed_in: Path | None = None) -> dict[str, Any]:
    """Has a worker make the model; kills it when a checkpoint is there. SHA-256 of the files."""
    stage = pipeline.plan(run)["qvm"]
    [spec] = pipeline.shards(stage, run)
    worker = subprocess.Popen(
        [sys.executable, "-m", "qstar_core.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert worker.stdin and worker.stdout
    worker.stdin.write(json.dumps({"id": 0, "spec": {**spec, "threads": 1}}) + "\n")
    worker.stdin.flush()
    if killed_in is not None:
        wait_until(lambda: any(killed_in.glob("checkpoint-*/complete.json")), "a checkpoint")
        worker.send_signal(signal.SIGKILL)
        worker.wait(PATIENCE_S)
        return {}
    events: list[dict[str, Any]] = []
    while not events or events[-1]["event"] not in ("result", "error"):
        events.append(json.loads(worker.stdout.readline()))
    worker.stdin.close()
    assert events[-1]["event"] == "result", events[-1]
    receipt = events[-1]["result"]
    manifest = pipeline.publish(stage, run, [receipt])
    return {**{e["name"]: e["sha256"] for e in manifest["files"]}, **manifest["figures"]}


@pytest.mark.slow
def test_a_worker_that_is_killed_in_training_ends_with_equal_files(tmp_path: Path) -> None:
    run, other = prepared(tmp_path / "a"), prepared(tmp_path / "b")
    stage = pipeline.plan(run)["qvm"]
    kept = open_store(stage.uri).kept("model")
    worked_on(run, killed_in=kept)
    assert dataset.read_complete(stage.uri) is None
    resumed, whole = worked_on(run), worked_on(other)
    assert resumed["resumed_from"] >= 20 and "resumed_from" not in whole
    names = ("model.safetensors", "config.json", "predictions.parquet", "tokenizer.json")
    assert [resumed[name] for name in names] == [whole[name] for name in names]
    assert not kept.exists()
    assert list((tmp_path / "a" / "logs" / stage.key).glob("events*"))
