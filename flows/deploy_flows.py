"""A deployment of ``prefect.yaml`` as Prefect's API takes it, and what the server has otherwise."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.exceptions import PrefectException
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError as SchemaError
from prefect.utilities.schema_tools.validation import validate
from prefect.utilities.templating import apply_values
from pydantic import ValidationError

from qstar_core import __version__
from qstar_core.config_file import load_config
from qstar_core.errors import UserError
from qstar_core.store.uri import is_remote

KINDS: dict[str, type[CronSchedule | IntervalSchedule | RRuleSchedule]] = {
    "cron": CronSchedule,
    "interval": IntervalSchedule,
    "rrule": RRuleSchedule,
}
WRONG: tuple[type[Exception], ...] = (
    SchemaError,
    ValidationError,
    PrefectException,
    ValueError,
    KeyError,
    ImportError,
    AttributeError,
)
"""What a wrong entry of the file raises: a parameter, a schedule, an entry point."""
OF_SCHEDULE = ("slug", "active", "parameters", "max_scheduled_runs")


def body(spec: dict[str, Any], whole: dict[str, Any], file: str) -> dict[str, Any]:
    """What a deployment is to be.

    Args:
        spec: of the deployment, as in the file.
        whole: the file.
        file: its path, for errors.

    Returns:
        ``flow``, ``name``, ``fields`` of Prefect's API, ``schedules``, ``triggers``, and the
        schedules in words as ``when``.

    Raises:
        UserError: there is no such flow, or a parameter, schedule or configuration is wrong.
    """
    name = spec.get("name", "")
    try:
        plain = {key: value for key, value in spec.items() if key != "triggers"}
        given: Any = apply_values(plain, dict(os.environ), remove_notset=False)
        flow: Flow[..., Any] = load_flow_from_entrypoint(given["entrypoint"])
        schema = parameter_schema(flow).model_dump(mode="json", exclude_unset=True)
        parameters = given.get("parameters") or {}
        validate(parameters, schema, raise_on_error=True, ignore_required=True)
        found = [_schedule(each) for each in given.get("schedules") or []]
    except WRONG as error:
        raise UserError(
            f"{file}: deployment {name}: {str(error) or type(error).__name__}",
            safe="nothing was changed",
            next_step=f"mend {file}, then run the same command again",
        ) from error
    _check_zones(name, parameters, found, file)
    _check_config(name, parameters, file)
    pool, limit = given.get("work_pool") or {}, given.get("concurrency_limit")
    limit = {"limit": limit} if isinstance(limit, int) else limit or {}
    strategy = limit.get("collision_strategy")
    fields = {
        "description": given.get("description") or flow.description,
        "version": given.get("version") or __version__,
        "tags": given.get("tags") or [],
        "parameters": parameters,
        "entrypoint": given["entrypoint"],
        "pull_steps": given.get("pull", whole.get("pull")) or [],
        "parameter_openapi_schema": schema,
        "enforce_parameter_schema": given.get("enforce_parameter_schema", True),
        "work_pool_name": pool.get("name"),
        "work_queue_name": pool.get("work_queue_name"),
        "job_variables": pool.get("job_variables") or {},
        "concurrency_limit": limit.get("limit"),
        "concurrency_options": {"collision_strategy": strategy} if strategy else None,
    }
    return {
        "flow": flow.name,
        "name": name,
        "fields": fields,
        "schedules": found,
        "triggers": spec.get("triggers") or [],
        "when": "; ".join(_in_words(each) for each in found),
    }


def names_of(wanted: dict[str, Any]) -> tuple[str, str]:
    """Flow and deployment."""
    return wanted["flow"], wanted["name"]


def schedules(wanted: dict[str, Any]) -> list[DeploymentScheduleCreate]:
    """The schedules of a deployment, for Prefect's client."""
    return list(wanted["schedules"])


def differing(wanted: dict[str, Any], there: DeploymentResponse) -> list[str]:
    """Names of the fields that the server has otherwise."""
    found = json.loads(there.model_dump_json())
    limit = there.global_concurrency_limit
    found["concurrency_limit"] = limit.limit if limit is not None else None
    options = found.get("concurrency_options") or {}
    found["concurrency_options"] = {"collision_strategy": options.get("collision_strategy")}
    changed = []
    for field, value in wanted["fields"].items():
        unset = value is None or (field == "pull_steps" and not value and not found[field])
        if not unset and _ordered(field, found.get(field)) != _ordered(field, value):
            changed.append(field)
    on_server = sorted(_of_schedule(each) for each in there.schedules)
    if on_server != sorted(_of_schedule(each) for each in wanted["schedules"]):
        changed.append("schedules")
    return changed


def _ordered(field: str, value: Any) -> Any:
    return sorted(value) if field == "tags" and value else value


def _of_schedule(each: Any) -> str:
    """What tells schedules apart; whether one is active is the page's to switch."""
    schedule = {k: v for k, v in each.schedule.model_dump(mode="json").items() if v is not None}
    schedule.pop("anchor_date", None)  # of an interval: the moment when it was first made
    return json.dumps([schedule, each.slug or "", each.parameters or {}], sort_keys=True)


def _schedule(given: dict[str, Any]) -> DeploymentScheduleCreate:
    kind = next((kind for kind in KINDS if kind in given), None)
    if kind is None:
        raise ValueError(f"schedule {given}: one of {', '.join(KINDS)} is needed")
    fields = {name: value for name, value in given.items() if name not in OF_SCHEDULE}
    schedule = KINDS[kind].model_validate(fields)
    rest = {name: given[name] for name in OF_SCHEDULE if name in given}
    return DeploymentScheduleCreate(schedule=schedule, **rest)


def _in_words(each: DeploymentScheduleCreate) -> str:
    shown = each.schedule.model_dump(mode="json", exclude_none=True)
    kind = next(kind for kind in KINDS if kind in shown)
    return f"{kind} {shown[kind]} {shown.get('timezone', 'UTC')}"


def _check_zones(
    name: str, parameters: dict[str, Any], found: list[DeploymentScheduleCreate], file: str
) -> None:
    """A night must belong to the day that its schedule means."""
    said = parameters.get("time_zone", "UTC")
    for each in found:
        zone = getattr(each.schedule, "timezone", None) or "UTC"
        own = (each.parameters or {}).get("time_zone", said)
        if zone != own:
            raise UserError(
                f"{file}: deployment {name}: its schedule is in {zone}, its parameter time_zone is "
                f"{own}: a run near midnight would belong to the wrong date",
                safe="nothing was changed",
                next_step=f"set parameters.time_zone of {name} to {zone}",
            )


def _check_config(name: str, parameters: dict[str, Any], file: str) -> None:
    """The configuration, where it can be read here, has to be a valid one."""
    config = parameters.get("config")
    if config is None:
        return
    path = config if is_remote(config) else str(Path(os.environ["QSTAR_HOME"]) / config)
    if not is_remote(config) and not Path(path).is_file():
        return  # on the workers' machines
    today = datetime.date.today()
    try:
        load_config(path, parameters.get("overrides"), parameters.get("out"), today)
    except UserError as error:
        raise UserError(
            f"{file}: deployment {name}: {error.what}",
            safe="nothing was changed",
            next_step=error.next_step,
        ) from error
