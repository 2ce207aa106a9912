from __future__ import annotations

import io
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from flows import stages
from flows.progress import StageProgress
from flows.stages import SHOWN_FAILURES, StageFailed, Workshop, explain, pick, workshop
from qstar_core import pipeline
from qstar_core.config import PolicyConfig, RunConfig, RuntimeConfig
from qstar_core.errors import UserError, WorkerError
from qstar_core.store import dataset, open_store
from tasks import records
from tasks.budget import Budget
from tests.models import tiny_policy
from tests.processes import PATIENCE_S


@pytest.fixture
def in_flow_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "runtime", SimpleNamespace(flow_run=SimpleNamespace(id="x")))
    monkeypatch.setattr(records, "log", logging.getLogger("test-stages"))  # not Prefect's


def test_a_users_error_wins_and_says_what_is_safe() -> None:
    failed = {
        "a": WorkerError("the worker ended with signal SIGKILL"),
        "b": UserError("the disk is full", next_step="free some space"),
    }
    error = explain("rollouts", 5, failed, kept=3)
    assert not isinstance(error, StageFailed)
    assert error.what == "rollouts: the disk is full"
    assert error.safe == "3 of 5 shards of rollouts are on disk and will be kept"
    assert error.next_step == "free some space"


def test_failed_shards_are_named_and_counted() -> None:
    failed: dict[str, BaseException] = {str(n): WorkerError(f"reason {n}") for n in range(5)}
    error = explain("rollouts", 8, failed, kept=3)
    assert isinstance(error, StageFailed)
    assert "5 of 8 shards failed" in error.what
    assert error.what.count("reason") == SHOWN_FAILURES
    assert "and 2 more" in error.what
    assert "the 5 missing" in error.next_step


def test_an_error_without_text_is_named_by_its_type() -> None:
    assert "TimeoutError" in explain("qvm", 1, {"model": TimeoutError()}, kept=0).what


def test_a_run_with_a_given_qvm_trains_none() -> None:
    with pytest.raises(UserError, match="no stage qvm"):
        pick({}, "qvm")


def test_task_runs_that_are_not_on_record_are_said(
    in_flow_run: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(records, "wait_recorded", lambda flow_run_id: (3, 5))
    with workshop(RunConfig()):
        pass
    (record,) = caplog.records
    assert "3 of 5 task runs" in record.getMessage()


def test_nothing_is_said_when_all_task_runs_are_on_record(
    in_flow_run: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(records, "wait_recorded", lambda flow_run_id: (5, 5))
    with workshop(RunConfig()):
        pass
    assert not caplog.records


def test_the_first_error_survives_a_server_that_is_gone(
    in_flow_run: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(flow_run_id: str) -> tuple[int, int]:
        raise ConnectionError("no server")

    monkeypatch.setattr(records, "wait_recorded", refuse)
    with (
        pytest.raises(UserError, match="row 3"),
        workshop(RunConfig()),
    ):
        raise UserError("row 3")
    assert "no server" in caplog.text
    with workshop(RunConfig()):  # and what was made stays made
        pass


def test_a_second_run_waits_for_the_first_and_takes_what_it_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(out=str(tmp_path), policy=PolicyConfig(path=str(tiny_policy())))
    stage = pipeline.plan(config)["problems"]
    began, may, made = threading.Event(), threading.Event(), []

    def run_shards(shop: Workshop, specs: list[dict[str, Any]], *_: object) -> list[Any]:
        began.set()
        assert may.wait(PATIENCE_S)
        receipts = []
        for spec in specs:
            file = open_store(spec["uri"]).scratch() / f"part-{spec['shard']}.parquet"
            dataset.write_table(file, pa.table({"x": [1, 2]}))
            receipts.append(dataset.finish_shard(spec["uri"], spec["shard"], [file], {}))
            made.append(spec["shard"])
        return receipts

    monkeypatch.setattr(Workshop, "run_shards", run_shards)
    monkeypatch.setattr(stages, "publish_stage", lambda *g, announced: pipeline.publish(*g))
    outs = io.StringIO(), io.StringIO()
    shows = [StageProgress(Console(file=out)) for out in outs]
    runner, budget = stages._task_runner(config.runtime), Budget(config.runtime)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(Workshop(config, runner, shows[0], budget).make, stage)
        assert began.wait(PATIENCE_S)
        second = threads.submit(Workshop(config, runner, shows[1], budget).make, stage)
        while "waiting" not in outs[1].getvalue():
            assert not second.done()
            time.sleep(0.01)
        may.set()
        assert second.result(PATIENCE_S) == first.result(PATIENCE_S) == pipeline.published(stage)
    assert made == ["train", "test"]
    waited, there = outs[1].getvalue().splitlines()
    assert f"problems    another run is making it: pid {os.getpid()} on " in waited
    assert there == "problems    already there (4 rows)"
    assert not list(tmp_path.rglob(".writing"))


def test_a_run_that_failed_leaves_the_stage_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(out=str(tmp_path), policy=PolicyConfig(path=str(tiny_policy())))
    stage = pipeline.plan(config)["problems"]

    def fail(shop: Workshop, specs: list[dict[str, Any]], *_: object) -> list[Any]:
        raise WorkerError("signal SIGKILL")

    monkeypatch.setattr(Workshop, "run_shards", fail)
    show = StageProgress(Console(file=io.StringIO()))
    shop = Workshop(config, stages._task_runner(config.runtime), show, Budget(config.runtime))
    for _ in range(2):
        with pytest.raises(WorkerError):
            shop.make(stage)


def test_what_searches_is_checked_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(out=str(tmp_path), policy=PolicyConfig(path=str(tiny_policy())))
    stage = pipeline.plan(config)["problems"]

    def refuse(stage: pipeline.Stage, config: RunConfig) -> list[str]:
        raise UserError("a near-duplicate")

    monkeypatch.setattr(pipeline, "check_held_out", refuse)
    show = StageProgress(Console(file=io.StringIO()))
    shop = Workshop(config, stages._task_runner(config.runtime), show, Budget(config.runtime))
    with pytest.raises(UserError, match="near-duplicate"):
        shop.make(stage)


@pytest.mark.parametrize(("stage", "window"), [("comparison", 3), ("timing", 1)])
def test_shards_whose_time_is_the_result_run_one_at_a_time(
    in_flow_run: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stage: str, window: int
) -> None:
    config = RunConfig(out=str(tmp_path), runtime=RuntimeConfig(workers=3))
    seen = []

    def submit_all(
        runner: object, task: object, specs: list[Any], at_once: int, **_: object
    ) -> dict[str, Any]:
        seen.append(at_once)
        return {spec["shard"]: SimpleNamespace(result=lambda: {}) for spec in specs}

    monkeypatch.setattr(stages, "submit_all", submit_all)
    monkeypatch.setattr(stages, "kept_receipt", lambda spec: None)
    show = StageProgress(Console(file=io.StringIO()))
    shop = Workshop(config, stages._task_runner(config.runtime), show, Budget(config.runtime))
    ranges = {"a": (0, 50), "b": (50, 60)}
    specs = [{"stage": stage, "shard": k, "start": i, "stop": j} for k, (i, j) in ranges.items()]
    there = {"a": True, "b": False}
    assert shop.run_shards(specs, {"units": 60, "unit": "searches"}, there) == [{}, {}]
    assert seen == [window]
    assert show._stage is not None
    assert (show._stage.done, show._stage.total) == (50, 60)
