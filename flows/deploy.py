"""``qstar deploy``: the deployments and what they need, made on a Prefect server.

Read are Prefect's own ``prefect.yaml`` and beside it ``prefect-server.yaml`` (work pools, limits,
automations). What is there already and equal is left as it is, so a second run changes nothing.
What a person has switched on Prefect's page (a paused schedule, pool or automation) stays switched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.deploy_automations import automations, triggers
from flows.deploy_flows import body, differing, names_of, schedules
from qstar_core.errors import UserError

SERVER_FILE = "prefect-server.yaml"
HOME = "QSTAR_HOME"

State = Literal["made", "changed", "left", "skipped"]


@dataclass(frozen=True)
class Step:
    """One object on the server.

    Attributes:
        kind: such as ``deployment``.
        name: of the object.
        state: what was done, or would be.
        said: what differs, or why it is skipped.
        apply: does it; None where nothing is to be done.
    """

    kind: str
    name: str
    state: State
    said: str = ""
    apply: Callable[[], object] | None = None


def deploy(file: str, dry_run: bool = False) -> Iterator[Step]:
    """Makes or changes everything, one step after the other.

    Args:
        file: path of ``prefect.yaml``.
        dry_run: whether only to say what would be done.

    Raises:
        UserError: a file is malformed, the server refuses, or there is none.
    """
    os.environ.setdefault(HOME, os.getcwd())
    path = Path(file)
    wanted = _read(path)
    extra = _read(path.with_name(SERVER_FILE), needed=False)
    with get_client(sync_client=True) as client:
        if (error := client.api_healthcheck()) is not None:
            raise UserError(
                f"the Prefect server at {client.api_url} does not answer: {error}",
                next_step="start it (make server), or set PREFECT_API_URL to the one that is meant",
            )
        bodies = [body(each, wanted, file) for each in wanted.get("deployments", [])]
        for spec in extra.get("work_pools", []):
            yield _done(_pool(client, spec, path), dry_run)
        for spec in extra.get("concurrency_limits", []):
            yield _done(_limit(client, spec), dry_run)
        for each in bodies:
            yield _done(_deployment(client, each), dry_run)
        for each in bodies:
            for step in triggers(client, each):
                yield _done(Step(*step), dry_run)
        for spec in extra.get("automations", []):
            yield _done(Step(*automations(client, spec)), dry_run)


def _done(step: Step, dry_run: bool) -> Step:
    if step.apply is not None and not dry_run:
        try:
            step.apply()
        except PrefectHTTPStatusError as error:
            raise UserError(
                f"{step.kind} {step.name}: the server refuses it: {error.response.text[:500]}",
                safe="what was made before it stays",
                next_step="mend it in the file, then run the same command again",
            ) from error
    return step


def _read(path: Path, needed: bool = True) -> dict[str, Any]:
    if not path.is_file() and not needed:
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"no such file: {path}",
            next_step="run qstar deploy in the folder with deployments/, or name the file",
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}", next_step=f"mend {path}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: a mapping of fields is expected", next_step=f"mend {path}")
    return found


def _pool(client: SyncPrefectClient, spec: dict[str, Any], file: Path) -> Step:
    """A work pool; one that is there keeps its template, unless the file names one."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate

    name, template = spec["name"], spec.get("base_job_template")
    job = json.loads((file.parent / template).read_text(encoding="utf-8")) if template else {}
    description = spec.get("description")
    try:
        there = client.read_work_pool(name)
    except ObjectNotFound:
        pool = WorkPoolCreate(
            name=name, type=spec["type"], base_job_template=job, description=description
        )
        return Step("work pool", name, "made", spec["type"], lambda: client.create_work_pool(pool))
    if there.type != spec["type"]:
        raise UserError(
            f"work pool {name} is of type {there.type} on the server, not {spec['type']}",
            safe="nothing was changed",
            next_step=f"give it another name, or prefect work-pool delete {name}",
        )
    changed = ["base_job_template"] if job and there.base_job_template != job else []
    changed += ["description"] if there.description != description else []
    if not changed:
        return Step("work pool", name, "left")
    new = {"base_job_template": job or there.base_job_template, "description": description}
    update = WorkPoolUpdate.model_validate(new)
    said = ", ".join(changed)
    return Step("work pool", name, "changed", said, lambda: client.update_work_pool(name, update))


def _limit(client: SyncPrefectClient, spec: dict[str, Any]) -> Step:
    """A global concurrency limit."""
    from prefect.client.schemas.actions import (
        GlobalConcurrencyLimitCreate,
        GlobalConcurrencyLimitUpdate,
    )

    name, limit = spec["name"], spec["limit"]
    kind = "concurrency limit"
    try:
        there = client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        new = GlobalConcurrencyLimitCreate(name=name, limit=limit)
        return Step(
            kind, name, "made", str(limit), lambda: client.create_global_concurrency_limit(new)
        )
    if there.limit == limit:
        return Step(kind, name, "left")
    update = GlobalConcurrencyLimitUpdate(limit=limit)
    return Step(
        kind,
        name,
        "changed",
        f"{there.limit} to {limit}",
        lambda: client.update_global_concurrency_limit(name, update),
    )


def _deployment(client: SyncPrefectClient, wanted: dict[str, Any]) -> Step:
    """A deployment with its schedules; only fields that differ are sent."""
    from prefect.client.schemas.actions import DeploymentUpdate

    flow_name, name = names_of(wanted)
    full = f"{flow_name}/{name}"
    fields = {field: value for field, value in wanted["fields"].items() if value is not None}
    try:
        there = client.read_deployment_by_name(full)
    except ObjectNotFound:

        def make() -> None:
            flow_id = client.create_flow_from_name(flow_name)
            client.create_deployment(
                flow_id=flow_id, name=name, schedules=schedules(wanted), **fields
            )

        return Step("deployment", full, "made", wanted["when"], make)
    changed = differing(wanted, there)
    if not changed:
        return Step("deployment", full, "left", wanted["when"])
    changes = {field: fields.get(field) for field in changed}
    if "schedules" in changed:
        found = [each.model_dump(mode="json", exclude_unset=True) for each in schedules(wanted)]
        if there.schedules and not any(each.active for each in there.schedules):
            found = [{"active": False, **each} for each in found]  # paused on the page
        changes["schedules"] = found
    update = DeploymentUpdate.model_validate(changes)

    def change() -> None:
        client.update_deployment(there.id, update)
        for each in client.read_deployment_schedules(there.id) if "schedules" in changed else ():
            if each.slug not in {its.slug for its in schedules(wanted)}:
                client.delete_deployment_schedule(there.id, each.id)  # the server keeps it

    return Step("deployment", full, "changed", ", ".join(changed), change)
