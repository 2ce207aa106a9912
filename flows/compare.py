"""The flow of ``qstar compare``: searches over a sweep of budgets, and the report of them."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import run_name, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="compare", flow_run_name=run_name, persist_result=False)
def compare(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Makes what is missing up to the Q-value model, then the comparison, then its report.

    Returns:
        The manifest of each stage, by its name.
    """
    with workshop(config) as shop:
        stages = pipeline.plan_comparison(config)
        return {stage.name: shop.make(stage) for stage in stages.values()}
