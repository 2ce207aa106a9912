from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.logging import disable_run_logger

from qstar_core import pipeline
from qstar_core.errors import TokensSpent, UserError, WorkerError
from tasks import shards
from tasks.bench import Bench, at_bench
from tasks.shards import kept_receipt, mendable, run_shard
from tasks.workers import PoolClosed

RECEIPT = {"shard": "a", "files": [], "rows": 3, "figures": {}}
SPEC = {"stage": "rollouts", "shard": "a", "uri": "/nowhere"}


class FakePool:
    def __init__(self) -> None:
        self.specs: list[dict[str, Any]] = []

    def run(self, spec: dict[str, Any], stall_timeout_s: float, on_progress: Any) -> dict[str, Any]:
        self.specs.append(spec)
        on_progress({"event": "progress", "done": 1, "total": 2, "unit": "u", "note": ""})
        return RECEIPT


def work(spec: dict[str, Any], pool: FakePool) -> tuple[Any, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    bench = Bench(pool, 5.0, lambda spec, event: events.append(event))  # type: ignore[arg-type]
    with at_bench(bench), disable_run_logger():
        return run_shard.fn(spec), events


def test_shard_goes_to_the_pool_and_its_events_to_the_display() -> None:
    pool = FakePool()
    receipt, events = work(SPEC, pool)
    assert receipt == RECEIPT
    assert [{**spec, "hints": None} for spec in pool.specs] == [{**SPEC, "hints": None}]
    assert pool.specs[0]["hints"]["quarantined"] == {}
    assert [event["event"] for event in events] == ["progress"]


def test_finished_shard_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[dict[str, Any]] = []
    monkeypatch.setattr(pipeline, "finished", lambda spec: reads.append(spec) or RECEIPT)
    pool = FakePool()
    receipt, events = work(SPEC, pool)
    assert receipt == RECEIPT
    assert pool.specs == []
    assert reads == [SPEC]  # once
    assert events == []


def test_a_spent_budget_is_no_failure_with_a_trace() -> None:
    class Spent(FakePool):
        def run(self, *_: Any) -> dict[str, Any]:
            raise TokensSpent("the 10 policy tokens of this run are spent")

    spent = "the 10 policy tokens of this run are spent"
    for stage, message in (
        ("rollouts", f"{spent}; what was sampled is kept"),
        ("timing", spent),  # it begins anew
    ):
        state, _ = work({**SPEC, "stage": stage}, Spent())
        assert isinstance(state, State) and state.is_cancelled()
        assert (state.name, state.message) == ("Stopped", message)
        assert isinstance(state.data, TokensSpent)


def test_pretraining_always_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "finished", lambda spec: RECEIPT)
    assert kept_receipt({**SPEC, "stage": "pretrain"}) is None
    assert kept_receipt(SPEC) == RECEIPT


def test_one_bench_at_a_time() -> None:
    bench = Bench(FakePool(), 1.0, lambda spec, event: None)  # type: ignore[arg-type]
    with at_bench(bench), pytest.raises(RuntimeError, match="already"), at_bench(bench):
        pass
    with pytest.raises(RuntimeError, match="outside"), disable_run_logger():
        run_shard.fn(SPEC)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (WorkerError("signal SIGKILL"), True),
        (OSError("broken pipe"), True),
        (WorkerError(""), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (UserError("row 3"), False),
        (PoolClosed("interrupted"), False),
        (ValueError("a bug"), False),
    ],
)
def test_what_a_retry_may_mend(
    error: Exception, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards.log, "disabled", True)
    state, task_run = SimpleNamespace(data=error), SimpleNamespace(name="rollouts-a")
    assert mendable(None, task_run, state) is expected
