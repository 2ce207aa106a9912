"""Takes away what `qstar deploy` has made on a Prefect server that other tests use too."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient

NAMES = ["nightly", "rollouts", "label", "train", "evaluate", "compare", "reproduce"]


def clear(client: SyncPrefectClient) -> None:
    """Removes deployments, automations, limits and the work pool."""
    for deployment in client.read_deployments():
        if deployment.name in NAMES:
            client.delete_deployment(deployment.id)
    for automation in client.read_automations():
        client.delete_automation(automation.id)
    for limit in client.read_global_concurrency_limits():
        if limit.name.startswith("qstar-"):
            client.delete_global_concurrency_limit_by_name(limit.name)
    if "qstar" in {pool.name for pool in client.read_work_pools()}:
        client.delete_work_pool("qstar")
