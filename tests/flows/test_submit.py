from __future__ import annotations

import threading
import time
from typing import Any
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.submit import submit_all
from tests.processes import PATIENCE_S

SPECS = [{"shard": str(k)} for k in range(9)]


def test_window_order_stop_and_failures(prefect_server: str) -> None:
    lock = threading.Lock()
    active = most = 0
    started: list[str] = []
    two = threading.Barrier(2)  # the first two have to be at work at the same time

    @task(cache_policy=NO_CACHE, persist_result=False)
    def work(spec: dict[str, Any]) -> str:
        nonlocal active, most
        with lock:
            active, started[len(started) :] = active + 1, [spec["shard"]]
            most = max(most, active)
        if spec["shard"] in ("0", "1"):
            two.wait(PATIENCE_S)
        time.sleep(0.05)
        with lock:
            active -= 1
        if spec["shard"] == "2":
            raise ValueError("a bug")
        return str(spec["shard"])

    done: list[str] = []
    noted: list[UUID] = []

    def on_done(spec: dict[str, Any], future: PrefectFuture[Any]) -> None:
        assert future.state.is_final()
        done.append(spec["shard"])

    at_server = temporary_settings({PREFECT_API_URL: prefect_server})
    with at_server, ThreadPoolTaskRunner(max_workers=8) as runner:
        futures = submit_all(
            runner, work, SPECS, 2, go_on=lambda: len(done) < 5, note=noted.append, on_done=on_done
        )
    assert most == 2
    assert set(started) == {str(k) for k in range(len(started))}
    assert sorted(futures) == sorted(done) == sorted(started)
    assert 5 <= len(futures) <= 6  # the one at work is finished
    assert len(noted) == len(futures)
    assert futures["2"].state.is_failed()
    assert futures["1"].result() == "1"
