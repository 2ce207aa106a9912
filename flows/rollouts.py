"""Two stages: the problems, and rollouts of the policy from every training problem."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import pick, run_name, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="rollouts", flow_run_name=run_name, persist_result=False)
def rollouts(config: RunConfig) -> dict[str, Any]:
    """Makes the problems, then samples and grades whole trajectories.

    Returns:
        The manifest of the rollouts.
    """
    stages = pipeline.plan(config, until="rollouts")
    with workshop(config) as shop:
        shop.make(pick(stages, "problems"))
        return shop.make(pick(stages, "rollouts"))
