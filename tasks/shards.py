"""The tasks of every stage: one shard to a worker, and the manifest when all shards are there.

Results are not persisted by Prefect and not cached by it: the receipts and manifests of the data
sets are the truth about what is done.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.states import Cancelled
from prefect.tasks import exponential_backoff

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.errors import TokensSpent, WorkerError, users_to_mend
from tasks.bench import bench_for
from tasks.events import emit_published
from tasks.poison import guarded
from tasks.records import note_task_run

log = logging.getLogger("qstar_core.shards")

Spec = dict[str, Any]

STOPPED = "Stopped"  # name of the state of a run, and of a shard, whose budget is spent
RETRY_DELAY_S = 2.0  # before the first retry; doubles with each


USE_MODELS = (
    *("rollouts", "pool", "qvm", "prm", "sft", "episodes", "adaptive"),
    *("evaluation", "comparison", "timing"),
)
"""Kinds of data sets whose shards take slots of ``runtime.limits``."""


def limited(spec: Spec) -> AbstractContextManager[None]:
    """Holds a slot of each of the global concurrency limits that the run names.

    A limit that the server does not have limits nothing; a slot is given back by the server some
    minutes after its holder died.
    """
    names = spec.get("config", {}).get("runtime", {}).get("limits", [])
    if not names or pipeline.kind_of(spec["stage"]) not in USE_MODELS:
        return nullcontext()
    return concurrency(names, occupy=1, raise_on_lease_renewal_failure=False)


def kept_receipt(spec: Spec) -> dict[str, Any] | None:
    """The receipt of a shard that is on disk already; pretraining has none and always runs."""
    return None if spec["stage"] == "pretrain" else pipeline.finished(spec)


def mendable(_task: Any, task_run: Any, state: Any) -> bool:
    """Whether a retry may help: after a worker's death and most errors of the system."""
    error = state.data
    if not isinstance(error, WorkerError | OSError):
        return False
    if isinstance(error, OSError) and users_to_mend(error) is not None:
        return False
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    log.warning("%s: %s; trying again", task_run.name, first)
    return True


@task(
    name="shard",
    task_run_name="{spec[stage]}-{spec[shard]}",
    retry_delay_seconds=exponential_backoff(RETRY_DELAY_S),
    retry_condition_fn=mendable,
    persist_result=False,
    cache_policy=NO_CACHE,
)
def run_shard(spec: Spec) -> dict[str, Any] | State[Any]:
    """Makes one shard in a worker process; a shard that is on disk already is not made again.

    Returns:
        The shard's receipt; the state `STOPPED` where the run's tokens were spent in the middle.
    """
    bench = bench_for(spec)
    receipt = kept_receipt(spec)
    if receipt is None:

        def run(spec: Spec) -> dict[str, Any]:
            return bench.pool.run(
                spec, bench.stall_timeout_s, lambda event: bench.on_event(spec, event)
            )

        try:
            with limited(spec):
                receipt = guarded(spec, run)
        except TokensSpent as spent:  # nothing is wrong: neither a failure nor worth a retry
            kept = "" if spec["stage"] in pipeline.ALONE else "; what was sampled is kept"
            return Cancelled(name=STOPPED, message=f"{spent.what}{kept}", data=spent)
    return receipt


@task(
    name="publish",
    task_run_name="publish-{stage.name}",
    persist_result=False,
    cache_policy=NO_CACHE,
)
def publish_stage(
    stage: pipeline.Stage,
    config: RunConfig,
    receipts: list[dict[str, Any]],
    announced: bool = True,
) -> dict[str, Any]:
    """Puts the manifest of a stage whose shards are all finished; returns it.

    Args:
        stage: it is of.
        config: of the run.
        receipts: of all shards, in order.
        announced: whether an event says so.
    """
    note_task_run()
    manifest = pipeline.publish(stage, config, receipts)
    if announced:
        emit_published(manifest, config.name)
    return manifest
