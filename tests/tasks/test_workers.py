from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from qstar_core import worker_process
from qstar_core.errors import UserError, WorkerError
from tasks.workers import PoolClosed, WorkerPool
from tests.processes import PATIENCE_S, children, ended, wait_until

FAKE = str(Path(__file__).parent / "fake_worker.py")


def make_pool(count: int = 1, **options: Any) -> WorkerPool:
    return WorkerPool(count, command=[FAKE], **options)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with make_pool() as made:
        yield made


def worker_pids() -> set[int]:
    return {child.pid for child in children(os.getpid(), FAKE)}


def test_starts_no_worker_before_the_first_shard(pool: WorkerPool) -> None:
    assert not worker_pids()
    pool.run({"do": "ok"}, PATIENCE_S)
    assert len(worker_pids()) == 1


def test_keeps_a_worker_for_the_next_shard(pool: WorkerPool) -> None:
    pids = {pool.run({"do": "ok"}, PATIENCE_S)["pid"] for _ in range(3)}
    assert len(pids) == 1


def test_relays_progress_in_order(pool: WorkerPool) -> None:
    seen: list[int] = []
    pool.run({"do": "ok", "steps": 5}, PATIENCE_S, lambda event: seen.append(event["done"]))
    assert seen == [1, 2, 3, 4, 5]


def test_survives_noise_on_both_outputs(pool: WorkerPool) -> None:
    assert pool.run({"do": "noise", "shard": "a"}, PATIENCE_S)["shard"] == "a"


def test_crash_tells_exit_code_and_last_words_and_is_replaced(pool: WorkerPool) -> None:
    with pytest.raises(WorkerError, match="exit code 3") as caught:
        pool.run({"do": "crash"}, PATIENCE_S)
    assert "the last words" in str(caught.value)
    assert pool.run({"do": "ok"}, PATIENCE_S)["rows"] == 1


def test_a_worker_that_cannot_replace_its_model_is_replaced() -> None:
    with make_pool(2) as pool:

        def both(model: str) -> set[int]:
            spec = {"do": "model", "model": model, "seconds": 0.5}
            with ThreadPoolExecutor(2) as threads:
                jobs = [threads.submit(pool.run, spec, PATIENCE_S) for _ in range(2)]
                return {job.result()["pid"] for job in jobs}

        first = both("one")
        assert len(first) == 2 and both("one") == first
        assert both("two").isdisjoint(first)


def test_kill_names_the_signal(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {"do": "crash-once", "mark": str(tmp_path / "mark")}
    with pytest.raises(WorkerError, match="SIGKILL"):
        pool.run(spec, PATIENCE_S)
    assert pool.run(spec, PATIENCE_S)["rows"] == 1


def test_a_worker_without_progress_is_killed(pool: WorkerPool) -> None:
    with pytest.raises(WorkerError, match=r"no progress for 0\.5 s"):
        pool.run({"do": "hang"}, 0.5)
    assert pool.run({"do": "ok"}, PATIENCE_S)["rows"] == 1


def test_every_progress_event_restarts_the_clock(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarts: list[object] = []
    monkeypatch.setattr(worker_process.StallWatch, "restart", lambda watch: restarts.append(watch))
    pool.run({"do": "ok", "steps": 5}, PATIENCE_S)
    assert len(restarts) == 5


def test_user_error_keeps_its_parts_and_the_worker(pool: WorkerPool) -> None:
    pid = pool.run({"do": "ok"}, PATIENCE_S)["pid"]
    with pytest.raises(UserError) as caught:
        pool.run({"do": "user"}, PATIENCE_S)
    assert caught.value.to_dict() == {"what": "row 3", "safe": "all", "next_step": "mend it"}
    assert pool.run({"do": "ok"}, PATIENCE_S)["pid"] == pid


def test_failure_in_a_shard_is_a_worker_error(pool: WorkerPool) -> None:
    with pytest.raises(WorkerError, match="ValueError: x"):
        pool.run({"do": "fail"}, PATIENCE_S)


def test_error_in_the_progress_callback_replaces_the_worker(pool: WorkerPool) -> None:
    pid = pool.run({"do": "ok"}, PATIENCE_S)["pid"]
    with pytest.raises(ZeroDivisionError):
        pool.run({"do": "ok", "steps": 1}, PATIENCE_S, lambda event: print(1 / 0))
    assert pool.run({"do": "ok", "shard": "b"}, PATIENCE_S)["shard"] == "b"
    assert not psutil.pid_exists(pid)


def test_ctrl_c_in_a_worker_is_not_for_a_retry(pool: WorkerPool) -> None:
    with pytest.raises(PoolClosed):
        pool.run({"do": "interrupted"}, PATIENCE_S)


def test_threads_share_the_workers_and_get_their_own_results() -> None:
    specs = [{"do": "ok", "shard": str(n), "steps": 3, "seconds": 0.01} for n in range(20)]
    with make_pool(2) as pool, ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda spec: pool.run(spec, PATIENCE_S), specs))
    assert [r["shard"] for r in results] == [s["shard"] for s in specs]
    assert len({r["pid"] for r in results}) <= 2


def test_close_ends_running_shards_at_once_and_reaps_the_workers() -> None:
    pool = make_pool(1)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            pool.run({"do": "hang"}, PATIENCE_S)
        except PoolClosed as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]  # one runs, one waits
    for thread in threads:
        thread.start()
    wait_until(lambda: bool(worker_pids()), "the worker starts")
    (worker,) = worker_pids()
    pool.close()
    for thread in threads:
        thread.join(PATIENCE_S)  # the shard would hang for longer
    assert len(errors) == 2
    assert not psutil.pid_exists(worker)


def test_a_closed_pool_takes_no_shard() -> None:
    with make_pool() as pool:
        pass
    with pytest.raises(PoolClosed):
        pool.run({"do": "ok"}, PATIENCE_S)


def test_environment_of_the_workers() -> None:
    with make_pool(threads=3, env={"QSTAR_TEST": "yes"}) as pool:
        env = pool.run({"do": "ok"}, PATIENCE_S)["env"]
    assert (env["OMP_NUM_THREADS"], env["MKL_NUM_THREADS"], env["QSTAR_TEST"]) == ("3", "3", "yes")


def test_cores_are_shared_out() -> None:
    with make_pool(10_000) as pool:
        assert pool.run({"do": "ok"}, PATIENCE_S)["env"]["OMP_NUM_THREADS"] == "1"


def test_missing_interpreter_is_the_users_to_mend() -> None:
    with make_pool(python="/no/such/python") as pool:
        for _ in range(2):  # the place of the worker that did not start is free again
            with pytest.raises(UserError, match=r"runtime\.python"):
                pool.run({"do": "ok"}, PATIENCE_S)


def test_interpreter_without_the_core_is_the_users_to_mend() -> None:
    with (
        WorkerPool(1, command=["-m", "no_such_module_of_qstar"]) as pool,
        pytest.raises(UserError, match="No module named"),
    ):
        pool.run({"do": "ok"}, PATIENCE_S)


def test_workers_die_with_a_killed_parent() -> None:
    program = (
        "import sys, threading; from tasks.workers import WorkerPool\n"
        f"pool = WorkerPool(1, command=[{FAKE!r}])\n"
        f"print(pool.run({{'do': 'ok'}}, {PATIENCE_S})['pid'], flush=True)\n"
        "threading.Event().wait()\n"
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert os.getpgid(worker) == os.getpgid(parent.pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: ended(worker), "the worker ends with its parent")
    parent.stdout.close()
