"""One stage: the HTML report of a published evaluation."""

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
