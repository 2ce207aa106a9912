"""Automations of a Prefect server: the triggers of deployments, silence, notifications."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import UUID

from prefect.cli.deploy._triggers import DeploymentTriggerAdapter
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from qstar_core.errors import UserError

Found = tuple[str, str, Any, str, Callable[[], object] | None]
"""Kind, name, state, what is said, and what does it: the fields of `flows.deploy.Step`."""

NOTIFY = "notify"
OURS = "Made by qstar deploy."
"""The end of a trigger's description: the server does not say to whom an automation belongs."""


def triggers(client: SyncPrefectClient, wanted: dict[str, Any]) -> Iterator[Found]:
    """The events that start a deployment; those that the file no longer has are removed.

    Args:
        client: of the server.
        wanted: of `flows.deploy_flows.body`; made already, unless this is a dry run.

    Raises:
        UserError: one is malformed.
    """
    full = f"{wanted['flow']}/{wanted['name']}"
    try:
        deployment = client.read_deployment_by_name(full)
    except ObjectNotFound:
        for number, spec in enumerate(wanted["triggers"], start=1):
            yield "trigger", spec.get("name", f"{full} {number}"), "made", full, None
        return
    related = client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    there = [found for found in related if _starts(found, deployment.id)]
    names = set()
    for number, spec in enumerate(wanted["triggers"], start=1):
        named = {"name": f"{wanted['name']}__automation_{number}", **spec}
        try:
            trigger = DeploymentTriggerAdapter.validate_python(named)
            trigger.set_deployment_id(deployment.id)
            core = trigger.as_automation()
        except ValidationError as error:
            raise UserError(
                f"trigger {named['name']} of {full}: {error}",
                safe="the deployments are made",
                next_step="mend it in the file, then run the same command again",
            ) from error
        core.description = f"{core.description} {OURS}".strip()
        names.add(core.name)
        found = next((a for a in there if a.name == core.name), None)
        yield _compared(client, "trigger", core, found, "enabled" in spec)
    for each in there:
        if each.name not in names and each.description.endswith(OURS):
            remove = partial(client.delete_automation, each.id)
            yield "trigger", each.name, "changed", "removed", remove


def _starts(automation: Automation, deployment_id: UUID) -> bool:
    """Whether an automation starts a deployment; others only watch it."""
    return any(getattr(a, "deployment_id", None) == deployment_id for a in automation.actions)


def automations(client: SyncPrefectClient, spec: dict[str, Any]) -> Found:
    """One automation of the file.

    Raises:
        UserError: it is malformed.
    """
    given, name = dict(spec), str(spec.get("name"))
    block = given.pop(NOTIFY, None)
    if block is not None:
        documents = client.read_block_documents(include_secrets=False)
        document = next((each for each in documents if each.name == block), None)
        if document is None:
            return "automation", name, "skipped", f"there is no block named {block}", None
        texts: dict[str, Any] = {
            field: given.pop(field) for field in ("subject", "body") if field in given
        }
        action = {"type": "send-notification", "block_document_id": str(document.id), **texts}
        given["actions"] = [action]
    try:
        core = AutomationCore.model_validate(given)
    except ValidationError as error:
        raise UserError(f"automation {name}: {error}", next_step="mend it in the file") from error
    there = next(iter(client.read_automations_by_name(name)), None)
    return _compared(client, "automation", core, there, "enabled" in spec)


def _compared(
    client: SyncPrefectClient,
    kind: str,
    core: AutomationCore,
    there: Automation | None,
    switched: bool,
) -> Found:
    if there is None:
        return kind, core.name, "made", core.description, lambda: client.create_automation(core)
    if not switched:  # the page's to switch
        core = core.model_copy(update={"enabled": there.enabled})
    wanted, found = _plain(core), _plain(there)
    changed = [field for field, value in wanted.items() if found[field] != value]
    if not changed:
        return kind, core.name, "left", core.description, None
    said = ", ".join(changed)
    update = AutomationCore.model_validate(wanted)
    return kind, core.name, "changed", said, lambda: client.update_automation(there.id, update)


def _plain(automation: AutomationCore) -> dict[str, Any]:
    found = automation.model_dump()
    unsaid = ("tags", "owner_resource")
    return {name: found[name] for name in AutomationCore.model_fields if name not in unsaid}
