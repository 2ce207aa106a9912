"""Shards on a Ray cluster, by Prefect's Ray task runner.

The body of a task is the same `run_shard`. In a Ray worker process it keeps one shard worker of
its own (`tasks.bench`), with the models loaded once for all the shards that this process is given;
Ray reuses its processes as long as tasks ask for the same resources. What a person sees moves on
with whole shards only.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.task_runners import TaskRunner

from qstar_core.config import RuntimeConfig
from qstar_core.errors import UserError

# Ray would run its workers at niceness 15, which starves them beside anything else.
ENVIRONMENT = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
CPUS_PER_SHARD = 1
CONNECT_TIMEOUT_S = 10.0


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
    _check(options.ray_address)
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
        raise _unreachable(options.ray_address, error) from error
    try:
        with remote_options(**resources):
            yield runner
    finally:
        runner.__exit__(None, None, None)


def _check(address: str | None) -> None:
    """Ray itself tries for minutes before it says that nobody listens."""
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str | None, error: Exception) -> UserError:
    return UserError(
        f"runtime.ray_address: no Ray cluster at {address}: {error}",
        next_step="start one (ray start --head) and give its host:port, or leave it out",
    )
