"""How a stage is made, for all flows: its shards to the workers, then its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect import runtime
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.progress import StageProgress
from flows.remarks import remarks
from flows.submit import submit_all
from qstar_core import pipeline
from qstar_core.config import RunConfig, RuntimeConfig
from qstar_core.errors import TokensSpent, UserError
from qstar_core.room import check_room
from qstar_core.store import retries
from tasks.artifacts import record_comparison, record_report
from tasks.bench import Bench, at_bench, make_pool
from tasks.budget import Budget
from tasks.on_ray import ray_runner
from tasks.records import await_records, note_submitted
from tasks.shards import kept_receipt, publish_stage, run_shard

Manifest = dict[str, Any]

SHOWN_FAILURES = 3
OF_COMPARISON = ("compare", "report-comparison")
"""Flows whose stages are those of `pipeline.plan_comparison`."""

LAST = ("evaluation", "report", "rounds", "comparison", "timing", "comparison_report")
"""Kinds of stages that a night makes last, whatever became of the others."""

UNTIL = {
    "rollouts": "rollouts",
    "pools": "labels",
    "label": "labels",
    "train-qvm": "qvm",
    "train-prm": "prm",
    "train-adaptive": "adaptive",
}
"""Flows that end with a stage before the evaluation."""


class StageFailed(UserError):
    """Shards of a stage failed after all retries."""

    exit_code = 1


class BudgetSpent(UserError):
    """A run stopped because its tokens or hours are spent; nothing is wrong."""

    title = "Stopped"
    exit_code = 3


def run_name() -> str:
    """The name of a flow run: flow, configuration and the first digits of the last run key."""
    flow_name = str(runtime.flow_run.flow_name)
    config = runtime.flow_run.parameters["config"]
    if isinstance(config, dict):
        config = RunConfig.model_validate(config)
    if flow_name in OF_COMPARISON:
        stages = pipeline.plan_comparison(config)
    elif flow_name == "train-policy":
        stages = pipeline.plan_policy(config)
    else:
        stages = pipeline.plan(config, until=UNTIL.get(flow_name))
    last = pipeline.summary(config) if flow_name == "nightly" and config.rounds > 1 else None
    key = (last or list(stages.values())[-1]).key
    return f"{flow_name}-{config.name}-{key[:8]}"


def pick(stages: dict[str, pipeline.Stage], name: str) -> pipeline.Stage:
    """A stage of the plan.

    Raises:
        UserError: the run has no such stage.
    """
    if name not in stages:
        field = "prm.path" if name == "prm" else "qvm.path"
        raise UserError(
            f"this run has no stage {name}: {field} names a trained model",
            next_step=f"leave {field} out, or run one of: " + ", ".join(stages),
        )
    return stages[name]


def upto(stages: dict[str, pipeline.Stage], name: str) -> list[pipeline.Stage]:
    """A stage of the plan, after those that its command makes too.

    Raises:
        UserError: the run has no such stage.
    """
    stage = pick(stages, name)
    return [*(stages[first] for first in pipeline.made_first(stages, name)), stage]


@dataclass(frozen=True)
class Workshop:
    """The task runner, the display and the budget of one flow run."""

    config: RunConfig
    runner: TaskRunner[Any]
    show: StageProgress
    budget: Budget
    seconds: dict[str, float] = field(default_factory=dict)
    """What making each data set took, by its folder; only of those that this run made."""
    announced: bool = True
    """Whether publications are events; not those of a scratch folder, which start deployments."""

    def make(self, stage: pipeline.Stage) -> Manifest:
        """Makes one stage's data set unless it is published; returns its manifest.

        While another run makes it, this one waits.

        Raises:
            UserError: an input is missing, or a shard says what the user has to mend.
            StageFailed: shards failed after all retries.
        """
        manifest = pipeline.published(stage)
        if manifest is None:
            specs = pipeline.shards(stage, self.config)  # says a missing input
            for note in pipeline.check_held_out(stage, self.config):
                self.show.remark(stage.name, note)
            with pipeline.making(stage, lambda by: self.show.waiting(stage.name, by)):
                manifest = pipeline.published(stage)  # perhaps by the run that was waited for
                if manifest is None:
                    return self._make(stage, specs)
        self.show.already_there(stage.name, manifest["rows"])
        return manifest

    def _make(self, stage: pipeline.Stage, specs: list[dict[str, Any]]) -> Manifest:
        if stage.kind in LAST:
            self.budget.give_back()  # it was kept for these
        estimate = pipeline.estimate(stage, self.config)
        there = {spec["shard"]: kept_receipt(spec) is not None for spec in specs}
        check_room(stage, self.config, estimate, sum(there.values()))
        begun = self.budget.seconds
        receipts = self.run_shards(specs, estimate, there)
        manifest = publish_stage(stage, self.config, receipts, announced=self.announced)
        self.show.end(manifest["rows"])
        for remark in remarks(manifest):
            self.show.remark(stage.name, remark)
        self._record(stage, manifest)
        self.seconds[stage.uri] = self.budget.seconds - begun
        return manifest

    def run_shards(
        self,
        specs: list[dict[str, Any]],
        estimate: dict[str, Any],
        there: Mapping[str, bool] | None = None,
    ) -> list[dict[str, Any]]:
        """Runs all shards but those ``there`` (None looks); returns all receipts in order.

        Raises:
            BudgetSpent: the run's budget ended before all were started.
            StageFailed: shards failed after all retries.
        """
        stage = specs[0]["stage"]
        there = there or {spec["shard"]: kept_receipt(spec) is not None for spec in specs}
        specs = [{**spec, "meter": self.budget.meter()} for spec in specs]
        sizes = {spec["shard"]: spec.get("stop", 0) - spec.get("start", 0) for spec in specs}
        self.show.begin(stage, dict(there), estimate, sizes)

        failed: dict[str, BaseException] = {}
        stopped: list[str] = []

        def go_on() -> bool:  # what the user has to mend fails the other shards too
            hopeless = any(isinstance(error, UserError) for error in failed.values())
            return not hopeless and not stopped and not self.budget.spent()

        def done(spec: dict[str, Any], future: PrefectFuture[Any]) -> None:
            if not future.state.is_completed():
                error = _error(future)
                if isinstance(error, TokensSpent):
                    stopped.append(spec["shard"])
                else:
                    failed[spec["shard"]] = error
                return
            self.show.on_event(spec, {"event": "finished"})
            if not there[spec["shard"]]:
                receipt = future.result()
                self.budget.take(receipt)
                retries.add(receipt["figures"].get("s3_retries", 0))

        options = self.config.runtime
        task = run_shard.with_options(retries=options.retries)
        waiting = sorted(specs, key=lambda spec: not there[spec["shard"]])  # those are free
        futures = submit_all(
            self.runner,
            task,
            waiting,
            1 if stage in pipeline.ALONE else options.workers,
            go_on=go_on,
            note=partial(note_submitted, str(runtime.flow_run.id)),
            on_done=done,
        )
        if failed:
            ordered = {shard: failed[shard] for shard in futures if shard in failed}
            kept = len(futures) - len(failed) - len(stopped)
            raise explain(stage, len(specs), ordered, kept=kept)
        if stopped or len(futures) < len(specs):
            raise self._stopped(stage, len(futures) - len(stopped), len(specs), bool(stopped))
        return [futures[spec["shard"]].result() for spec in specs]

    def _stopped(self, stage: str, kept: int, shards: int, begun: bool) -> BudgetSpent:
        safe = f"{kept} of {shards} shards of {stage} are finished and will be kept"
        safe += ", and so will what was sampled for others" if begun else ""
        step = f"run the same command again: it goes on with the {shards - kept} missing"
        return BudgetSpent(f"{stage}: {self.budget.spent()}", safe=safe, next_step=step)

    def _record(self, stage: pipeline.Stage, manifest: Manifest) -> None:
        """Puts the comparison or the way to the report on record in Prefect."""
        if stage.name == "evaluation":
            record_comparison(manifest["figures"]["comparison"], self.config.name)
        for name, figures in manifest["figures"].get("sweeps", {}).items():
            record_comparison(figures["sweep"], self.config.name, name)
        if stage.name in ("report", "comparison_report"):
            record_report(f"{stage.uri}/{manifest['files'][0]['name']}", self.config.name)


@contextmanager
def workshop(config: RunConfig, display: StageProgress | None = None) -> Iterator[Workshop]:
    """Workers, task threads and the display (None is the console) of one flow run.

    On the way out the workers end first, so that an interrupted task thread does not wait for
    its shard; then it is awaited that all task runs are on record.
    """
    flow_run_id = str(runtime.flow_run.id)
    options = config.runtime
    judge = config.adaptive.judge if config.adaptive is not None else None
    others = [*(pool.policy for pool in config.pools), judge]
    policies = [config.policy, *(policy for policy in others if policy is not None)]
    backends = {config.qvm.backend, *(policy.backend for policy in policies)}
    try:
        with (
            display or StageProgress() as show,
            _task_runner(options) as runner,
            make_pool(options.workers, options, backends, options.threads) as pool,
            at_bench(Bench(pool, options.stall_timeout_s, show.on_event)),
            closing(Budget(options)) as budget,
        ):
            yield Workshop(config, runner, show, budget)
    except Exception:  # raised again; after Ctrl-C nothing is waited for
        await_records(flow_run_id)
        raise
    await_records(flow_run_id)


def explain(stage: str, shards: int, failed: Mapping[str, BaseException], kept: int) -> UserError:
    """What failed, what is safe, and how to go on, from the errors of failed shards."""
    safe = "published data sets are complete and will be kept"
    if kept:
        safe = f"{kept} of {shards} shards of {stage} are on disk and will be kept"
    for error in failed.values():
        if isinstance(error, UserError):
            return UserError(
                f"{stage}: {error.what}",
                safe=safe if kept else error.safe,
                next_step=error.next_step,
            )
    texts = [
        f"{shard}: {str(error).strip() or type(error).__name__}" for shard, error in failed.items()
    ]
    lines = [f"{stage}: {len(failed)} of {shards} shards failed", texts[0]]
    lines += [text.splitlines()[0] for text in texts[1:SHOWN_FAILURES]]
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"and {len(failed) - SHOWN_FAILURES} more")
    return StageFailed(
        "\n".join(lines),
        safe=safe,
        next_step=f"run the same command again: it goes on with the {shards - kept} missing",
    )


def _task_runner(options: RuntimeConfig) -> AbstractContextManager[TaskRunner[Any]]:
    if options.runner == "ray":
        return ray_runner(options)
    return ThreadPoolTaskRunner(max_workers=options.workers)


def _error(future: PrefectFuture[Any]) -> BaseException:
    result = future.state.result(raise_on_failure=False)
    return result if isinstance(result, BaseException) else RuntimeError(str(future.state.message))
