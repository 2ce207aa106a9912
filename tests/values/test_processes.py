"""Training in other processes: several at once, and one that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qstar_core import pipeline
from qstar_core.store import dataset, open_store
from tests.processes import PATIENCE_S, wait_until
from tests.training.stage import prepared, published, started

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


@pytest.mark.slow
def test_a_worker_that_is_killed_in_training_ends_with_equal_files(tmp_path: Path) -> None:
    run, other = prepared(tmp_path / "a"), prepared(tmp_path / "b")
    stage = pipeline.plan(run)["qvm"]
    kept = open_store(stage.uri).kept("model")
    [spec] = pipeline.shards(stage, run)
    with started(spec) as worker:
        wait_until(lambda: any(kept.glob("checkpoint-*/complete.json")), "a checkpoint")
        worker.send_signal(signal.SIGKILL)
    assert dataset.read_complete(stage.uri) is None
    resumed, whole = published(run), published(other)
    assert resumed["resumed_from"] >= 20 and "resumed_from" not in whole
    names = ("model.safetensors", "config.json", "predictions.parquet", "tokenizer.json")
    assert [resumed[name] for name in names] == [whole[name] for name in names]
    assert not kept.exists()
    assert list((tmp_path / "a" / "logs" / stage.key).glob("events*"))
