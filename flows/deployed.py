"""The flows of the deployments in deployments/prefect.yaml: what a Prefect worker runs.

Each does what the command of its name does, for the partition of a date, and leaves a record of it
(`qstar_core.partitions`). It runs in a process of the worker: no terminal, no server of its own;
what the command line would print is in the run's log. An error that is the user's to mend ends the
run as Failed, with what failed, what is safe and what to do in the state's message.
"""

from __future__ import annotations

import datetime
import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prefect import Flow, flow, get_client, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.logs import outlive_worker, show_progress
from flows.nights import NIGHTLY, Made, night
from flows.orders import (
    ARGS,
    ConfigFile,
    Dataset,
    Limits,
    Order,
    Out,
    Overrides,
    Partition,
    Zone,
)
from flows.progress import LoggedProgress
from flows.stages import BudgetSpent, Workshop, upto, workshop
from qstar_core import partitions, pipeline
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.stage import Stage
from qstar_core.store.uri import leaf
from tasks.events import emit_record
from tasks.shards import STOPPED

log = logging.getLogger("qstar_core.deployed")

PARTITION = "partition"
STARTS = 5  # of one run, after which it is not made again: something in it ends its process
KEY_DIGITS = 8
PARTIAL = "Partial"
"""Name of the final state of a run whose record is not whole: completed, and to be looked at."""

Make = Callable[[Workshop, datetime.date], Made]
Result = State[Any]


def stages_of(flow_name: str, config: RunConfig) -> dict[str, Stage]:
    """The stages that a deployed flow makes, by name and in order."""
    if flow_name == "compare":
        return pipeline.plan_comparison(config)
    if flow_name in (NIGHTLY, "evaluate"):
        stages = pipeline.plan(config)
        return (
            stages if flow_name == NIGHTLY else {n: stages[n] for n in ("problems", "evaluation")}
        )
    last = {"rollouts": "rollouts", "label": "labels", "train": "qvm"}[flow_name]
    return {stage.name: stage for stage in upto(pipeline.plan(config, until=last), last)}


def run_name() -> str:
    """Flow, configuration, domain, date and the first digits of the last key."""
    flow_name = str(runtime.flow_run.flow_name)
    order = Order.of(runtime.flow_run.parameters)
    try:
        day = order.day().isoformat()
    except UserError:  # said by the flow itself; a name must not fail it
        return f"{flow_name}-{leaf(order.config)}"
    try:
        config = order.load()
        last = list(stages_of(flow_name, config).values())[-1]
    except (UserError, OSError):  # likewise
        return f"{flow_name}-{leaf(order.config)}-{day}"
    return f"{flow_name}-{config.name}-{config.domain.name}-{day}-{last.key[:KEY_DIGITS]}"


def deployed(flow_name: str, summary: str, make: Make) -> Flow[..., Result]:
    """A flow with the parameters of `Order`, whose form Prefect makes from signature and docstring.

    Args:
        flow_name: of the flow, and of its deployment.
        summary: what it makes, shown on Prefect's page.
        make: makes it.
    """

    def carry(
        config: ConfigFile,
        date: Partition = None,
        time_zone: Zone = "UTC",
        out: Out = None,
        overrides: Overrides = [],  # noqa: B006 - a list is what the form starts from
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> Result:
        order = Order(config, date, time_zone, out, overrides, limits)
        return carry_out(flow_name, order, make)

    carry.__name__, carry.__doc__ = flow_name, f"{summary}\n\n{ARGS}"
    return flow(name=flow_name, flow_run_name=run_name, persist_result=False)(carry)


def _alone(flow_name: str) -> Make:
    """Makes just the stages of a flow."""

    def make(shop: Workshop, _: datetime.date) -> Made:
        stages = stages_of(flow_name, shop.config)
        return Made({name: shop.make(stage) for name, stage in stages.items()})

    return make


nightly = deployed(
    NIGHTLY,
    "Everything from the problems to the report; what is already there is kept.\n\n"
    "If a stage before the evaluation fails or the budget ends, the night evaluates with the "
    "models of the last one, and its record says so.",
    night,
)
rollouts = deployed("rollouts", "Problems, and rollouts from all of them.", _alone("rollouts"))
label = deployed("label", "Q-labels of rollouts that are there; no token.", _alone("label"))
train = deployed("train", "The Q-value model, from labels that are there.", _alone("train"))
evaluate = deployed("evaluate", "All methods on the held-out problems.", _alone("evaluate"))
compare = deployed("compare", "All methods at several budgets, and a report.", _alone("compare"))


def reproduced_name() -> str:
    """The key of the data set that is made again."""
    return f"reproduce-{leaf(str(runtime.flow_run.parameters['dataset']))}"


@flow(name="reproduce", flow_run_name=reproduced_name, persist_result=False)
def reproduce(dataset: Dataset, overrides: Overrides = []) -> Result:  # noqa: B006
    """A data set, made again from its manifest and compared; fails if it is not equal.

    Args:
        dataset: Folder or s3:// URI of a published data set.
        overrides: Fields of its configuration, path.to.field=value, for files that lie elsewhere.
    """
    from qstar_core.provenance import outcome as outcomes
    from qstar_core.provenance import rerun

    show_progress()
    outlive_worker()
    try:
        with tempfile.TemporaryDirectory(prefix="qstar-reproduce-") as scratch:
            planned = rerun.prepare(dataset, scratch, overrides)
            differing = rerun.key_differences(planned)
            if differing:
                fields = ", ".join(f"{stage}: {field}" for stage, field, *_ in differing)
                return Failed(message=f"Not reproduced: {fields} differ here from the manifest")
            with workshop(planned.config, LoggedProgress()) as shop:
                for stage in planned.stages:
                    its = planned.rounds.get(stage.uri, planned.config)
                    replace(shop, config=its, announced=False).make(stage)
            outcome = outcomes.compare(planned)
    except UserError as error:
        return failed(error, dataset)
    rows = outcome.rows.equal if outcome.rows is not None else 0
    if outcome.equal:
        return Completed(message=f"Equal, {rows:,} rows")
    return Failed(message=f"Not equal: qstar reproduce {dataset} shows what differs")


def carry_out(flow_name: str, order: Order, make: Make) -> Result:
    """Makes the stages of a partition and puts its record.

    Returns:
        The final state of the flow run: Completed with the path of the record, under the name
        `PARTIAL` where it is not whole; or Failed with what is to be done.
    """
    show_progress()
    outlive_worker()
    try:
        day = order.day()
        _refuse_to_start_for_ever()
        config = order.load()
        _tag_partition(day)
        with workshop(config, LoggedProgress()) as shop:
            made = make(shop, day)
        path = _put_record(flow_name, config, day, made, shop.seconds)
    except UserError as error:
        return failed(error, order.config)
    if made.note:
        return Completed(name=PARTIAL, message=f"Record {path}; not whole: {made.note}")
    return Completed(message=f"Record {path}")


def failed(error: UserError, config: str) -> Result:
    """The state of a run that ended with an error that is the user's to mend."""
    again = "retry this run on Prefect's page; it goes on from there"
    step = error.next_step.replace("run the same command again", again).replace("CONFIG", config)
    lines = [error.what, f"Safe: {error.safe}" if error.safe else "", f"Next: {step or again}"]
    text = "\n".join(line for line in lines if line)
    log.error("%s", text)
    return Failed(message=text, name=STOPPED if isinstance(error, BudgetSpent) else "Failed")


def _put_record(
    flow_name: str,
    config: RunConfig,
    day: datetime.date,
    made: Made,
    seconds: dict[str, float],
) -> str:
    stages = {
        name: partitions.stage_entry(
            manifest, made=manifest["uri"] in seconds, seconds=seconds.get(manifest["uri"], 0.0)
        )
        for name, manifest in made.manifests.items()
    }
    record = partitions.Record(config.name, flow_name, day, stages, not made.note, made.note)
    path, new = partitions.put(config.out, record)
    log.info("record of %s: %s%s", day, path, "" if new else " (was there already)")
    if new:
        emit_record(record.to_dict(), path)
    return path


def _refuse_to_start_for_ever() -> None:
    """Runs that fell silent are started again by an automation; not one that always does.

    Raises:
        UserError: it was started too often.
    """
    count = int(runtime.flow_run.run_count or 0)
    if count > STARTS:
        raise UserError(
            f"this run was started {count} times; after {STARTS} it is not made again, because "
            "something in it may end its process",
            safe="finished shards and published data sets are there and will be kept",
            next_step="look at the worker's log and memory, then start a new run for this date",
        )


def _tag_partition(day: datetime.date) -> None:
    """Puts the partition among the tags of this run, where the page can filter by it."""
    tags = {*runtime.flow_run.tags, f"{PARTITION}:{day.isoformat()}"}
    with get_client(sync_client=True) as client:
        client.update_flow_run(runtime.flow_run.id, tags=tags)
