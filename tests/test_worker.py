from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from qstar_core import pipeline
from qstar_core import worker as worker_module
from qstar_core.config import (
    CountdownRanges,
    DomainConfig,
    PolicyConfig,
    PoolConfig,
    RunConfig,
    ServerConfig,
)
from qstar_core.errors import ModelReplaced, UserError
from qstar_core.jobs import JOBS
from tests.completions_server import Fault, Script, serving
from tests.models import tiny_policy
from tests.processes import PATIENCE_S


def config(tmp_path: Path) -> RunConfig:
    return RunConfig(
        out=str(tmp_path),
        policy=PolicyConfig(path=str(tiny_policy())),
        domain=DomainConfig(
            train_problems=3, test_problems=2, ranges=CountdownRanges(numbers=(3,))
        ),
    )


def start(arguments: Sequence[str] = ("-m", "qstar_core.worker")) -> subprocess.Popen[str]:
    command = [sys.executable, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def numbered(specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": number, "spec": spec} for number, spec in enumerate(specs)]


def converse(
    lines: list[dict[str, Any]], arguments: Sequence[str] = ("-m", "qstar_core.worker")
) -> list[dict[str, Any]]:
    """All events of a worker that is sent some lines and kept open until it has answered."""
    worker = start(arguments)
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
    place = {"uri": str(tmp_path / "set"), "shard": "a"}
    spec = {"stage": "rollouts", "threads": 1, "config": run.model_dump(mode="json"), **place}
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

    def answer(error: Exception) -> dict[str, Any]:
        def fail(spec: dict[str, Any], progress: object) -> None:
            raise error

        monkeypatch.setattr(worker_module, "_run", fail)
        return worker_module._serve({"id": 1, "spec": spec}, io.StringIO())

    full = answer(OSError(errno.ENOSPC, "No space left on device", "/x"))
    assert (full["kind"], full["what"]) == ("user", "No space left on device: /x")
    rust = "Error while serializing: I/O error: No space left on device (os error 28)"
    full = answer(SafetensorError(rust))
    assert (full["kind"], full["what"]) == ("user", "No space left on device")
    assert "free space" in full["next_step"]
    gone = answer(FileNotFoundError(errno.ENOENT, "gone", f"{run.policy.path}/config.json"))
    assert gone["kind"] == "user"
    gone = answer(FileNotFoundError(errno.ENOENT, "gone", inputs["problems"] + "/part.parquet"))
    assert gone["kind"] == "user"
    replaced = answer(ModelReplaced("another model"))
    assert (replaced["kind"], replaced["what"]) == ("replaced", "another model")
    for passing in (
        FileNotFoundError(errno.ENOENT, "gone", "/out/.writing/x"),
        OSError(errno.EIO, "Input/output error"),
        SafetensorError("I/O error: Input/output error (os error 5)"),
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


def test_rollouts_and_pools_of_a_served_policy_need_no_torch(tmp_path: Path) -> None:
    script = Script(
        lambda number: Fault("status", 429, seconds=0.0) if number == 5 else None, owned_by="vllm"
    )
    with serving(script) as url:
        policy = PolicyConfig(
            backend="server",
            dtype="float32",
            path=str(tiny_policy()),
            server=ServerConfig(urls=(url,)),
        )
        pools = [PoolConfig(kind="states"), PoolConfig(kind="mcts", simulations=2)]
        run = config(tmp_path).model_copy(update={"policy": policy, "pools": pools})
        stages = pipeline.plan(run)
        problems = pipeline.shards(stages["problems"], run)
        receipts = [e["result"] for e in converse(numbered(problems)) if e["event"] == "result"]
        pipeline.publish(stages["problems"], run, receipts)
        [spec] = pipeline.shards(stages["rollouts"], run)
        code = "import sys; sys.modules['torch'] = None; from qstar_core.worker import main; main()"
        events = converse(numbered([spec]), ["-c", code])
        pipeline.publish(stages["rollouts"], run, [events[-1]["result"]])
        specs = [pipeline.shards(stages[name], run)[0] for name in ("pool_states", "pool_mcts")]
        made = [e for e in converse(numbered(specs), ["-c", code]) if "result" in e]
    assert len(made) == len(pools) and "servers" in made[0]["result"]["figures"]
    assert events[-1]["event"] == "result", events[-1]
    assert events[-1]["result"]["rows"] == 3 * run.rollouts.samples
    servers = events[-1]["result"]["figures"]["servers"]
    assert servers == {"engines": ["vllm 9.9"], "tried_again": {"HTTP 429": 1}}
    assert "threads" not in events[-1]["result"]["environment"]


@pytest.mark.parametrize("stage", ["rollouts", "evaluation_2", "pool_states"])
def test_a_machine_that_cannot_grade_is_told_before_anything_is_sampled(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    from qstar_core.domains import mbpp
    from qstar_core.grading import sandbox

    def missing() -> None:
        raise UserError("bubblewrap is missing", next_step="install it")

    monkeypatch.setattr(mbpp, "check_machine", missing)
    monkeypatch.setenv(sandbox.MODE, "bwrap")
    config = RunConfig.model_validate({"domain": {"name": "mbpp"}})
    with pytest.raises(UserError, match="bubblewrap is missing"):
        worker_module._prepare_grading({"stage": stage}, config)
    worker_module._prepare_grading({"stage": "problems"}, config)
    weaker = RunConfig.model_validate({"runtime": {"sandbox": "rlimits"}})
    worker_module._prepare_grading({"stage": stage}, weaker)
    assert sandbox.current() == "rlimits"
