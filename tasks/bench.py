"""What shards are worked on with, in one process.

The task `run_shard` reaches it by a function and not by a global of its own module: Ray pickles a
decorated task with the globals that it names.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qstar_core.config import RuntimeConfig
from tasks import poison
from tasks.workers import WorkerPool

log = logging.getLogger("qstar_core.bench")

Spec = dict[str, Any]
OnEvent = Callable[[Spec, dict[str, Any]], None]


@dataclass(frozen=True)
class Bench:
    """The pool of workers, its patience, and the display.

    Attributes:
        pool: hands shards to workers.
        stall_timeout_s: seconds without progress after which a worker is killed.
        on_event: told (shard specification, progress event of its worker).
    """

    pool: WorkerPool
    stall_timeout_s: float
    on_event: OnEvent


_bench: Bench | None = None
_on_ray: tuple[str, Bench] | None = None


def make_pool(
    count: int, options: RuntimeConfig, backends: Collection[str], threads: int | None
) -> WorkerPool:
    """The workers of a run; ``backends`` are those of its models.

    vLLM's OpenMP threads spin while they wait and take the cores of what they wait for; they are
    told to sleep. Torch's own training and decoding are up to 40 % faster with threads that spin.
    """
    sleep = "vllm" in backends and "OMP_WAIT_POLICY" not in os.environ
    env = {"OMP_WAIT_POLICY": "PASSIVE"} if sleep else None
    return WorkerPool(count, options.python, threads, env)


@contextmanager
def at_bench(bench: Bench) -> Iterator[None]:
    """Makes a bench the one that `run_shard` uses; one at a time in a process."""
    global _bench
    if _bench is not None:
        raise RuntimeError("a flow of this process already has its workers")
    _bench = bench
    poison.forget()
    try:
        yield
    finally:
        _bench = None


def bench_for(spec: Spec) -> Bench:
    """The bench of this process; a process of Ray makes its own with its first shard.

    Raises:
        RuntimeError: outside of `at_bench`, and not on Ray.
    """
    if _bench is not None:
        return _bench
    if spec.get("config", {}).get("runtime", {}).get("runner") != "ray":
        raise RuntimeError("run_shard is called outside of at_bench")
    return _bench_on_ray(spec)


def _bench_on_ray(spec: Spec) -> Bench:
    """One worker, kept for all shards; a new one where Ray has moved this process to other GPUs."""
    global _on_ray
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if _on_ray is not None and _on_ray[0] == devices:
        return _on_ray[1]
    if _on_ray is not None:
        _on_ray[1].pool.close()
    options = RuntimeConfig.model_validate(spec["config"]["runtime"])
    config = spec["config"]
    models = [config["policy"], config["qvm"], *(p["policy"] for p in config.get("pools", ()))]
    backends = [model["backend"] for model in models if model is not None]
    pool = make_pool(1, options, backends, options.threads or spec["threads"])
    atexit.register(pool.close)
    _on_ray = (devices, Bench(pool, options.stall_timeout_s, _log_event))
    return _on_ray[1]


def _log_event(spec: Spec, event: dict[str, Any]) -> None:
    log.debug("%s-%s: %s", spec["stage"], spec["shard"], event)
