from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from flows import stages
from flows.stages import SHOWN_FAILURES, StageFailed, explain, pick, workshop
from qstar_core.config import RunConfig
from qstar_core.errors import UserError, WorkerError


@pytest.fixture
def in_flow_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "runtime", SimpleNamespace(flow_run=SimpleNamespace(id="x")))
    monkeypatch.setattr(stages, "log", logging.getLogger("test-stages"))  # not Prefect's


def test_a_users_error_wins_and_says_what_is_safe() -> None:
    failed = {
        "a": WorkerError("the worker ended with signal SIGKILL"),
        "b": UserError("the disk is full", next_step="free some space"),
    }
    error = explain("rollouts", 5, failed)
    assert not isinstance(error, StageFailed)
    assert error.what == "rollouts: the disk is full"
    assert error.safe == "3 of 5 shards of rollouts are on disk and will be kept"
    assert error.next_step == "free some space"


def test_failed_shards_are_named_and_counted() -> None:
    failed: dict[str, BaseException] = {str(n): WorkerError(f"reason {n}") for n in range(5)}
    error = explain("rollouts", 8, failed)
    assert isinstance(error, StageFailed)
    assert "5 of 8 shards failed" in error.what
    assert error.what.count("reason") == SHOWN_FAILURES
    assert "and 2 more" in error.what
    assert "the 5 missing" in error.next_step


def test_an_error_without_text_is_named_by_its_type() -> None:
    assert "TimeoutError" in explain("qvm", 1, {"model": TimeoutError()}).what


def test_a_run_with_a_given_qvm_trains_none() -> None:
    with pytest.raises(UserError, match="no stage qvm"):
        pick({}, "qvm")


def test_task_runs_that_are_not_on_record_are_said(
    in_flow_run: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stages, "wait_recorded", lambda flow_run_id: (3, 5))
    with workshop(RunConfig()):
        pass
    (record,) = caplog.records
    assert "3 of 5 task runs" in record.getMessage()


def test_nothing_is_said_when_all_task_runs_are_on_record(
    in_flow_run: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stages, "wait_recorded", lambda flow_run_id: (5, 5))
    with workshop(RunConfig()):
        pass
    assert not caplog.records


def test_the_first_error_survives_a_server_that_is_gone(
    in_flow_run: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(flow_run_id: str) -> tuple[int, int]:
        raise ConnectionError("no server")

    monkeypatch.setattr(stages, "wait_recorded", refuse)
    with (
        pytest.raises(UserError, match="row 3"),
        workshop(RunConfig()),
    ):
        raise UserError("row 3")
    assert "no server" in caplog.text
    with workshop(RunConfig()):  # and what was made stays made
        pass
