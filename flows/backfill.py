"""``qstar backfill``: a run of a deployment for each date that has no record of a whole one.

What is there is read from the records in the output folder, not from Prefect, which forgets. What
is on its way is asked of Prefect, so that the same command twice schedules nothing twice.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from dataclasses import dataclass
from typing import Any, Literal

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from rich.console import Console

from flows.deployed import PARTITION
from flows.orders import Order
from flows.tables import say
from qstar_core import partitions
from qstar_core.errors import UserError

State = Literal["there", "on its way", "scheduled"]


@dataclass(frozen=True)
class Day:
    """One date of a backfill.

    Attributes:
        date: the partition.
        state: a whole record is there, a run is on its way, or one was (or would be) scheduled.
        run: name of the run; empty where there is none.
    """

    date: datetime.date
    state: State
    run: str = ""


def show_backfill(
    console: Console, deployment: str, first: str, last: str, dry_run: bool
) -> list[Day]:
    """Schedules what is missing and prints a line per date."""
    found = backfill(deployment, _date(first, "--from"), _date(last, "--to"), dry_run)
    for day in found:
        state = "would be scheduled" if dry_run and day.state == "scheduled" else day.state
        say(console, f"{day.date}  {state}{f'  {day.run}' if day.run else ''}")
    new = sum(day.state == "scheduled" for day in found)
    say(console, f"{new} of {len(found)} dates {'would be ' if dry_run else ''}scheduled.")
    return found


def backfill(
    deployment: str, first: datetime.date, last: datetime.date, dry_run: bool = False
) -> list[Day]:
    """Schedules a run for each missing date.

    Args:
        deployment: its name, or ``FLOW/NAME``.
        first: date.
        last: date, included.
        dry_run: whether to schedule nothing.

    Returns:
        All dates in order.

    Raises:
        UserError: there is no such deployment, its configuration cannot be read here, or the server
            refuses its parameters.
    """
    full = deployment if "/" in deployment else f"{deployment}/{deployment}"
    with get_client(sync_client=True) as client:
        found = _deployment(client, full)
        flow_name = full.partition("/")[0]
        days = []
        missing = _missing(found, flow_name, first, last)
        for day in partitions.days(first, last):
            if day not in missing:
                days.append(Day(day, "there"))
                continue
            runs = _runs(client, found, day)
            going = next((run for run in runs if not (run.state and run.state.is_final())), None)
            if going is not None:
                days.append(Day(day, "on its way", going.name))
                continue
            name = f"{flow_name}-{day}"
            if not dry_run:
                _schedule(client, found, day, name, after=runs)
            days.append(Day(day, "scheduled", name))
    return days


def _deployment(client: SyncPrefectClient, full: str) -> DeploymentResponse:
    try:
        return client.read_deployment_by_name(full)
    except ObjectNotFound as error:
        flow_names = sorted(each.name for each in client.read_deployments())
        raise UserError(
            f"there is no deployment {full} on {client.api_url}",
            next_step="qstar deploy makes them"
            + (f"; there are {', '.join(flow_names)}" if flow_names else ""),
        ) from error


def _missing(
    deployment: DeploymentResponse, flow_name: str, first: datetime.date, last: datetime.date
) -> set[datetime.date]:
    """Dates without a whole record; each by its own configuration, which may name its date."""
    found = set[datetime.date]()
    if last < first:
        partitions.missing("", "", flow_name, first, last)  # says so
    if "config" not in deployment.parameters:
        raise UserError(
            f"the runs of {flow_name}/{deployment.name} belong to no date: they have no "
            "configuration",
            next_step="name one that has, such as qstar backfill nightly",
        )
    home = deployment.job_variables.get("working_dir") or "."
    with contextlib.chdir(home if os.path.isdir(home) else "."):  # paths may be relative to it
        for day in partitions.days(first, last):
            config = Order.of({**deployment.parameters, "date": day}).load()
            if partitions.missing(config.out, config.name, flow_name, day, day):
                found.add(day)
    return found


def _runs(
    client: SyncPrefectClient, deployment: DeploymentResponse, day: datetime.date
) -> list[FlowRun]:
    """The runs of a deployment for a date, as far as Prefect remembers them."""
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[f"{PARTITION}:{day}"])),
    )


def _schedule(
    client: SyncPrefectClient,
    deployment: DeploymentResponse,
    day: datetime.date,
    name: str,
    after: list[FlowRun],
) -> None:
    """Schedules a run; two commands at once schedule the same one, because both see the same runs.

    The last of these is in the key, not their number: Prefect forgets runs, and an old number would
    be that of a run which has ended.
    """
    parameters: dict[str, Any] = {"date": day.isoformat()}
    last = max(after, key=lambda run: (str(run.created), str(run.id)), default=None)
    attempt = "first" if last is None else last.id
    try:
        client.create_flow_run_from_deployment(
            deployment.id,
            parameters=parameters,
            tags=[*deployment.tags, f"{PARTITION}:{day}"],
            idempotency_key=f"qstar-backfill-{deployment.id}-{day}-{attempt}",
            name=name,
        )
    except PrefectHTTPStatusError as error:
        raise UserError(
            f"the server refuses a run of {deployment.name} for {day}: {error.response.text[:500]}",
            safe="runs of the dates before it are scheduled",
            next_step="mend the parameters of the deployment, then run the same command again",
        ) from error


def _date(text: str, option: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise UserError(
            f"{option} {text}: not a date", next_step=f"for example {option} 2026-11-28"
        ) from error
