"""A training stage in a worker process that a test talks to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qstar_core import pipeline
from qstar_core.config import (
    CountdownRanges,
    DomainConfig,
    PolicyConfig,
    QvmConfig,
    RolloutsConfig,
    RunConfig,
)
from tests.models import tiny_policy
from tests.processes import PATIENCE_S
from tests.stages import make


def prepared(out: Path, **qvm: Any) -> RunConfig:
    """A run whose labels are made."""
    settings: dict[str, Any] = {"epochs": 30.0, "batch_size": 16, "save_every": 20, **qvm}
    run = RunConfig(
        out=str(out),
        policy=PolicyConfig(path=str(tiny_policy())),
        domain=DomainConfig(
            train_problems=40, test_problems=2, ranges=CountdownRanges(numbers=(3,))
        ),
        rollouts=RolloutsConfig(samples=4, max_new_tokens=30),
        qvm=QvmConfig(**settings),
    )
    make(run, "problems", "rollouts", "labels")
    return run


@contextmanager
def started(spec: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A worker that was given a shard; it is gone at the end."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "qstar_core.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert worker.stdin
    worker.stdin.write(json.dumps({"id": 0, "spec": {**spec, "threads": 1}}) + "\n")
    worker.stdin.flush()
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait(PATIENCE_S)


def answer(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """Its last event, ``result`` or ``error``."""
    assert worker.stdout
    while True:
        event: dict[str, Any] = json.loads(worker.stdout.readline())
        if event["event"] in ("result", "error"):
            return event


def published(run: RunConfig) -> dict[str, Any]:
    """Has a worker make the model and publishes it: SHA-256 of the files, and the figures."""
    stage = pipeline.plan(run)["qvm"]
    [spec] = pipeline.shards(stage, run)
    with started(spec) as worker:
        event = answer(worker)
    assert event["event"] == "result", event
    manifest = pipeline.publish(stage, run, [event["result"]])
    return {**{e["name"]: e["sha256"] for e in manifest["files"]}, **manifest["figures"]}
