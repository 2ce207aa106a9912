"""Shards on a Ray cluster: Prefect's Ray task runner, and the worker of each Ray process.

The body of a task is the same `run_shard`. In a Ray worker process it keeps one shard worker of
its own (`bench_here`), with the models loaded once for all the shards that this process is given;
Ray reuses its processes as long as tasks ask for the same resources. What a person sees moves on
with whole shards only.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.task_runners import TaskRunner

from qstar_core.config import RuntimeConfig
from qstar_core.errors import UserError
from tasks.bench import Bench
from tasks.workers import WorkerPool

log = logging.getLogger("qstar_core.ray")

# Ray would run its workers at niceness 15, which starves them beside anything else.
ENVIRONMENT = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
CPUS_PER_SHARD = 1

_here: tuple[str, Bench] | None = None


@contextmanager
def ray_runner(options: RuntimeConfig) -> Iterator[TaskRunner[Any]]:
    """A started task runner on the cluster of ``runtime.ray_address``, or on one of this machine.

    Raises:
        UserError: the extra ``ray`` is not installed, or the cluster cannot be reached.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from prefect_ray import RayTaskRunner
        from prefect_ray.context import remote_options
    except ImportError as error:
        raise UserError(
            f"runtime.runner: ray is not installed ({error})",
            next_step="pip install 'qstar[ray]', or from a checkout: make ray",
        ) from error
    init: dict[str, Any] = {"log_to_driver": False}
    if options.ray_address is None:
        init |= {"num_cpus": options.workers * CPUS_PER_SHARD, "include_dashboard": False}
    resources: dict[str, Any] = {"num_cpus": CPUS_PER_SHARD}
    if options.gpus_per_worker:
        resources["num_gpus"] = options.gpus_per_worker
    runner: TaskRunner[Any] = RayTaskRunner(address=options.ray_address, init_kwargs=init)
    try:
        runner.__enter__()
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"runtime.ray_address: no Ray cluster at {options.ray_address}: {error}",
            next_step="start one (ray start --head) and give its address, or leave it out",
        ) from error
    try:
        with remote_options(**resources):
            yield runner
    finally:
        runner.__exit__(None, None, None)


def bench_here(spec: dict[str, Any]) -> Bench:
    """The bench of this Ray worker process, made with its first shard.

    A process that Ray moves to other GPUs gets a new one.
    """
    global _here
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if _here is not None and _here[0] == devices:
        return _here[1]
    if _here is not None:
        _here[1].pool.close()
    options = RuntimeConfig.model_validate(spec["config"]["runtime"])
    pool = WorkerPool(1, options.python, options.threads or spec["threads"])
    atexit.register(pool.close)
    _here = (devices, Bench(pool, options.stall_timeout_s, _log_event))
    return _here[1]


def _log_event(spec: dict[str, Any], event: dict[str, Any]) -> None:
    log.debug("%s-%s: %s", spec["stage"], spec["shard"], event)
