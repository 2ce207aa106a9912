from __future__ import annotations

import pytest

from flows.stages import SHOWN_FAILURES, StageFailed, explain, pick
from qstar_core.errors import UserError, WorkerError


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
