"""How a stage is made, for all flows: its shards to the workers, then its manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect import runtime
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import ThreadPoolTaskRunner

from flows.progress import StageProgress
from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from tasks.artifacts import record_comparison, record_report
from tasks.records import wait_recorded
from tasks.shards import Bench, at_bench, publish_stage, run_shard
from tasks.workers import WorkerPool

Manifest = dict[str, Any]
Make = Callable[[pipeline.Stage], Manifest]

SHOWN_FAILURES = 3


class StageFailed(UserError):
    """Shards of a stage failed after all retries; exit code 1."""


def run_name() -> str:
    """The name of a flow run: flow, configuration and the first digits of the last run key."""
    flow_name = str(runtime.flow_run.flow_name)
    config = runtime.flow_run.parameters["config"]
    if isinstance(config, dict):
        config = RunConfig.model_validate(config)
    key = list(pipeline.plan(config).values())[-1].key
    return f"{flow_name}-{config.name}-{key[:8]}"


@contextmanager
def workshop(config: RunConfig) -> Iterator[Make]:
    """Workers, task threads and the display of one flow; yields what makes a stage.

    Everything is ended on the way out, the workers first, so that an interrupted task thread
    does not wait for its shard; then it is awaited that all task runs are on record.
    """
    flow_run_id = str(runtime.flow_run.id)
    runtime_config = config.runtime
    try:
        with (
            StageProgress() as show,
            ThreadPoolTaskRunner(max_workers=runtime_config.workers) as runner,
            WorkerPool(
                runtime_config.workers, runtime_config.python, runtime_config.threads
            ) as pool,
            at_bench(Bench(pool, runtime_config.shard_timeout_s, show.on_event)),
        ):
            yield lambda stage: make(stage, config, runner, show)
    except Exception:
        wait_recorded(flow_run_id)
        raise
    wait_recorded(flow_run_id)


def make(
    stage: pipeline.Stage,
    config: RunConfig,
    runner: ThreadPoolTaskRunner[Any],
    show: StageProgress,
) -> Manifest:
    """Makes one stage's data set unless it is published; returns its manifest.

    Raises:
        UserError: an input is missing, or a shard says what the user has to mend.
        StageFailed: shards failed after all retries.
    """
    manifest = pipeline.published(stage)
    if manifest is not None:
        show.already_there(stage.name, manifest["rows"])
        return manifest
    specs = pipeline.shards(stage, config)
    there = {spec["shard"]: pipeline.finished(spec) is not None for spec in specs}
    show.begin(stage.name, there, pipeline.estimate(stage, config))
    manifest = publish_stage(stage, config, run_shards(specs, config, runner))
    record(stage, manifest, config)
    show.end(manifest["rows"])
    return manifest


def run_shards(
    specs: list[dict[str, Any]], config: RunConfig, runner: ThreadPoolTaskRunner[Any]
) -> list[dict[str, Any]]:
    """Runs all shards, however many of them fail; returns their receipts in order."""
    task = run_shard.with_options(retries=config.runtime.retries)
    futures = runner.map(task, {"spec": specs})
    wait(list(futures))
    failed = {
        spec["shard"]: _error(future)
        for spec, future in zip(specs, futures, strict=True)
        if not future.state.is_completed()
    }
    if failed:
        raise explain(specs[0]["stage"], len(specs), failed, config)
    return [future.result() for future in futures]


def explain(
    stage: str, shards: int, failed: dict[str, BaseException], config: RunConfig
) -> UserError:
    """What failed, what is safe, and how to go on, from the errors of failed shards."""
    safe = f"{shards - len(failed)} of {shards} shards of {stage} are on disk and will be kept"
    for error in failed.values():
        if isinstance(error, UserError):
            return UserError(
                f"{stage}: {error.what}",
                safe=safe if shards > len(failed) else error.safe,
                next_step=error.next_step,
            )
    lines = [f"{stage}: {len(failed)} of {shards} shards failed"]
    for shard, error in list(failed.items())[:SHOWN_FAILURES]:
        lines.append(f"{shard}: {str(error).strip() or type(error).__name__}")
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"and {len(failed) - SHOWN_FAILURES} more")
    return StageFailed(
        "\n".join(lines),
        safe=safe,
        next_step=f"run the same command again: it goes on with the {len(failed)} missing",
    )


def record(stage: pipeline.Stage, manifest: Manifest, config: RunConfig) -> None:
    """Puts the comparison or the way to the report on record in Prefect."""
    if stage.name == "evaluation":
        record_comparison(manifest["figures"]["comparison"], config.name)
    elif stage.name == "report":
        record_report(f"{stage.uri}/{manifest['files'][0]['name']}", config.name)


def _error(future: PrefectFuture[Any]) -> BaseException:
    result = future.state.result(raise_on_failure=False)
    return result if isinstance(result, BaseException) else RuntimeError(str(future.state.message))
