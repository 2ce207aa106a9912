"""Several processes that train one model; what they compute is tested in values and sft."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pydantic import ValidationError

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.errors import UserError, WorkerDied, WorkerError
from qstar_core.store import dataset, open_store
from qstar_core.training import processes
from tests.processes import children, ended, wait_until
from tests.training.stage import answer, prepared, published, started

FILES = ("model.safetensors", "config.json", "predictions.parquet")


@pytest.mark.parametrize("section", ["qvm", "prm", "sft"])
@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        ({"batch_size": 12, "processes": 3}, True),
        ({"batch_size": 12, "processes": 2, "accumulation": 3}, True),
        ({"batch_size": 12, "processes": 5}, False),
        ({"batch_size": 12, "processes": 4, "accumulation": 2}, False),
        ({"processes": 0}, False),
    ],
)
def test_a_batch_comes_apart_into_equal_parts(
    section: str, settings: dict[str, Any], fits: bool
) -> None:
    if fits:
        RunConfig.model_validate({section: settings})
        return
    with pytest.raises(ValidationError, match=r"must be a multiple of|greater than or equal to 1"):
        RunConfig.model_validate({section: settings})


def test_one_process_is_in_no_key_and_more_are() -> None:
    one = RunConfig.model_validate({"qvm": {"processes": 1}, "sft": {"processes": 1}})
    two = RunConfig.model_validate({"qvm": {"processes": 2}, "sft": {"processes": 2}})
    for section in ("qvm", "sft"):
        alone, several = (getattr(config, section).rows() for config in (one, two))
        assert alone == getattr(RunConfig(), section).rows()
        assert several == {**alone, "processes": 2}


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    processes.check_devices("qvm", 64)  # without a GPU any number goes
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    processes.check_devices("qvm", 2)
    with pytest.raises(UserError, match=r"qvm\.processes: 4 .* a GPU each, and 2") as caught:
        processes.check_devices("qvm", 4)
    assert "--set qvm.processes=2" in caught.value.next_step


def test_a_stage_is_made_alone_whatever_has_started_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*processes.VARIABLES, *processes.SHARDED):
        monkeypatch.setenv(name, "3")
    assert processes.count() == 3 and not processes.is_first()
    processes.prepare({processes.RANK: 3})
    assert processes.count() == 3 and "ACCELERATE_USE_FSDP" not in os.environ
    processes.prepare({})
    assert processes.count() == 1 and processes.is_first()


def test_each_process_takes_the_gpu_of_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    processes.prepare({processes.RANK: 1})
    assert taken == [1]


def futures(*errors: Exception | None) -> list[Future[dict[str, Any]]]:
    found = []
    for error in errors:
        found.append(Future[dict[str, Any]]())
        if error is not None:
            found[-1].set_exception(error)
    return found


def test_the_error_that_tells_most_is_told() -> None:
    lost, died, full = WorkerError("lost its peer"), WorkerDied("SIGKILL"), UserError("full")
    assert processes._cause(futures(lost, died, full), "qvm") is full
    found = processes._cause(futures(lost, None, died), "qvm")
    assert isinstance(found, WorkerDied)
    assert str(found) == (
        "qvm: process 3 of 3 of the training failed, the others were stopped: SIGKILL"
    )
    assert "process 1 of 2" in str(processes._cause(futures(lost, None), "qvm"))


def kept_checkpoints(run: RunConfig) -> Path:
    return open_store(pipeline.plan(run)["qvm"].uri).kept("model")


def shard(run: RunConfig) -> dict[str, Any]:
    [spec] = pipeline.shards(pipeline.plan(run)["qvm"], run)
    return spec


def has_checkpoint(run: RunConfig) -> bool:
    return any(kept_checkpoints(run).glob("checkpoint-*/complete.json"))


@pytest.mark.slow
def test_two_processes_are_killed_with_their_worker_and_go_on_as_if_not(tmp_path: Path) -> None:
    how = {"processes": 2, "epochs": 8.0, "save_every": 5, "keep_best": True, "eval_every": 10}
    broken, whole = (prepared(tmp_path / name, **how) for name in ("broken", "whole"))
    with started(shard(broken)) as worker:
        wait_until(lambda: has_checkpoint(broken), "a checkpoint")
        both = children(worker.pid, "qstar_core.worker")
        assert len(both) == 2
        worker.send_signal(signal.SIGKILL)
    wait_until(lambda: all(ended(child.pid) for child in both), "the end of both")
    assert dataset.read_complete(pipeline.plan(broken)["qvm"].uri) is None
    resumed, undisturbed = published(broken), published(whole)
    assert resumed["resumed_from"] >= 5 and "resumed_from" not in undisturbed
    assert [resumed[name] for name in FILES] == [undisturbed[name] for name in FILES]
    assert resumed["processes"] == 2
    assert not list(kept_checkpoints(broken).iterdir())


@pytest.mark.slow
def test_the_death_of_one_process_ends_the_other_with_one_error(tmp_path: Path) -> None:
    run = prepared(tmp_path, processes=2, epochs=400.0, save_every=5)
    with started(shard(run)) as worker:
        wait_until(lambda: has_checkpoint(run), "a checkpoint")
        both = children(worker.pid, "qstar_core.worker")
        [second] = [child for child in both if rank_of(child) == "1"]
        os.kill(second.pid, signal.SIGKILL)
        event = answer(worker)
        assert all(ended(child.pid) for child in both)
    assert event["event"] == "error" and event["kind"] == "crash"
    told = "qvm: process 2 of 2 of the training failed, the others were stopped: the worker ended "
    assert event["what"].startswith(f"{told}with signal SIGKILL")
    assert "traceback" not in event
    assert has_checkpoint(run)


def rank_of(process: psutil.Process) -> str:
    return process.environ()["RANK"]


@pytest.mark.slow
def test_an_error_of_the_users_in_all_processes_is_told_once(tmp_path: Path) -> None:
    run = prepared(tmp_path, processes=2, learning_rate=1e30, optimizer="adamw")
    with started(shard(run)) as worker:
        event = answer(worker)
    assert event["event"] == "error" and event["kind"] == "user"
    assert "training has diverged" in event["what"] and "learning rate" in event["next_step"]
