"""The nightly flow: problems, rollouts, Q-labels, Q-value model, evaluation, report."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import run_name, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="nightly", flow_run_name=run_name, persist_result=False)
def nightly(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Makes every data set that is not there yet, in order.

    Returns:
        The manifest of each stage, by its name.
    """
    with workshop(config) as shop:
        return {stage.name: shop.make(stage) for stage in pipeline.plan(config).values()}
