"""The problems, rollouts of the policy from every training problem, and pools made from them."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import run_name, upto, workshop
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
        return [shop.make(stage) for stage in upto(stages, "rollouts")][-1]


@flow(name="pools", flow_run_name=run_name, persist_result=False)
def pools(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Makes the problems, the rollouts and the pools of the run.

    Returns:
        The manifest of each pool, by the name of its stage.
    """
    stages = pipeline.plan(config, until="labels")
    with workshop(config) as shop:
        for stage in upto(stages, "rollouts"):
            shop.make(stage)
        return {name: shop.make(s) for name, s in stages.items() if s.kind == "pool"}
