"""One stage: the HTML report of a published evaluation, or of a published comparison."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import pick, run_name, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="report", flow_run_name=run_name, persist_result=False)
def report(config: RunConfig) -> dict[str, Any]:
    """Writes the report: comparison, curves, calibration, search trees.

    Returns:
        The manifest of the data set.
    """
    stages = pipeline.plan(config)
    with workshop(config) as shop:
        return shop.make(pick(stages, "report"))


@flow(name="report-comparison", flow_run_name=run_name, persist_result=False)
def report_comparison(config: RunConfig) -> dict[str, Any]:
    """Writes the report of ``qstar compare``: accuracy over the sweep of budgets.

    Returns:
        The manifest of the data set.
    """
    stages = pipeline.plan_comparison(config)
    with workshop(config) as shop:
        return shop.make(pick(stages, "comparison_report"))
