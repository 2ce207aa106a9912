from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core import worker as worker_module
from qstar_core.config import CountdownRanges, DomainConfig, PolicyConfig, RunConfig
from qstar_core.jobs import JOBS
from tests.models import tiny_policy
from tests.processes import PATIENCE_S


def config(tmp_path: Path) -> RunConfig:
    return RunConfig(
        out=str(tmp_path),
        policy=PolicyConfig(path=str(tiny_policy())),
        domain=DomainConfig(train_problems=3, test_problems=2, ranges=CountdownRanges(numbers=3)),
    )


def start() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "qstar_core.worker"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def converse(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All events of a worker that is sent some lines and kept open until it has answered."""
    worker = start()
    assert worker.stdin and worker.stdout
    for line in lines:
        worker.stdin.write(json.dumps(line) + "\n")
    worker.stdin.flush()
    events: list[dict[str, Any]] = []
    while sum(event["event"] in ("result", "error") for event in events) < len(lines):
        events.append(json.loads(worker.stdout.readline()))
    worker.stdin.close()
    assert worker.wait(timeout=PATIENCE_S) == 0
    return events


def test_a_shard_is_served_and_errors_do_not_end_the_worker(tmp_path: Path) -> None:
    run = config(tmp_path)
    stage = pipeline.plan(run)["problems"]
    train, test = pipeline.shards(stage, run)
    broken = {**train, "config": {**train["config"], "domain": {"name": "countdown", "x": 1}}}
    missing = json.loads(json.dumps(test))
    missing["config"]["domain"]["test_file"] = str(tmp_path / "absent.jsonl")
    events = converse(
        [
            {"id": 1, "spec": broken},
            {"id": 2, "spec": missing},
            {"id": 3, "spec": train},
            {"id": 4, "spec": test},
        ]
    )
    answers = {e["id"]: e for e in events if e["event"] in ("result", "error")}
    assert events[0]["event"] == "ready"
    assert (answers[1]["event"], answers[1]["kind"]) == ("error", "crash")
    assert (answers[2]["event"], answers[2]["kind"]) == ("error", "user")
    assert "absent.jsonl" in answers[2]["what"]
    assert answers[3]["result"]["rows"] == 3
    assert answers[4]["result"] == pipeline.finished(test)
    assert answers[4]["result"]["environment"]["interpreter"] == sys.executable
    manifest = pipeline.publish(stage, run, [answers[3]["result"], answers[4]["result"]])
    assert manifest["figures"] == {"train": 3, "test": 2}
    assert manifest["environment"] == answers[4]["result"]["environment"]
    assert pipeline.published(stage) == manifest


def test_a_stage_with_a_model_says_threads_and_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(tmp_path).model_copy(update={"policy": PolicyConfig(device="cpu")})
    spec = {"stage": "rollouts", "threads": 1, "config": run.model_dump(mode="json")}
    monkeypatch.setitem(JOBS, "rollouts", lambda spec, config, progress: spec["environment"])
    environment = worker_module._run(spec, None)
    assert (environment["threads"], environment["device"]) == (1, "cpu")
    assert environment["interpreter"] == sys.executable


def test_errors_of_the_system_reach_the_parent_as_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(tmp_path)
    inputs = {"problems": str(tmp_path / "problems")}
    spec = {"stage": "rollouts", "inputs": inputs, "config": run.model_dump(mode="json")}

    def answer(error: OSError) -> dict[str, Any]:
        def fail(spec: dict[str, Any], progress: object) -> None:
            raise error

        monkeypatch.setattr(worker_module, "_run", fail)
        return worker_module._serve({"id": 1, "spec": spec}, io.StringIO())

    full = answer(OSError(errno.ENOSPC, "No space left on device", "/x"))
    assert (full["kind"], full["what"]) == ("user", "No space left on device: /x")
    gone = answer(FileNotFoundError(errno.ENOENT, "gone", f"{run.policy.path}/config.json"))
    assert gone["kind"] == "user"
    gone = answer(FileNotFoundError(errno.ENOENT, "gone", inputs["problems"] + "/part.parquet"))
    assert gone["kind"] == "user"
    for passing in (
        FileNotFoundError(errno.ENOENT, "gone", "/out/.writing/x"),
        OSError(errno.EIO, "Input/output error"),
    ):
        told = answer(passing)
        assert told["kind"] == "crash"
        assert type(passing).__name__ in told["what"]
        assert "Traceback" in told["traceback"]


def test_a_worker_ends_with_its_standard_input() -> None:
    worker = start()
    assert worker.stdin and worker.stdout
    assert json.loads(worker.stdout.readline())["event"] == "ready"
    worker.stdin.close()
    assert worker.wait(timeout=PATIENCE_S) == 0
