"""One stage: the process reward model of published rollouts, or of annotations."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import run_name, upto, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="train-prm", flow_run_name=run_name, persist_result=False)
def train_prm(config: RunConfig) -> dict[str, Any]:
    """Labels the steps, or reads annotations, trains the model and measures it.

    Returns:
        The manifest of the data set.
    """
    stages = pipeline.plan(config, until="prm")
    with workshop(config) as shop:
        return [shop.make(stage) for stage in upto(stages, "prm")][-1]
