"""One stage: the Q-value model of published labels."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import run_name, upto, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="train-qvm", flow_run_name=run_name, persist_result=False)
def train_qvm(config: RunConfig) -> dict[str, Any]:
    """Trains the Q-value model and measures it on held-out problems.

    Fitted Q iteration makes its rounds before the last too, labels and models in turn.

    Returns:
        The manifest of the data set.
    """
    stages = pipeline.plan(config, until="qvm")
    with workshop(config) as shop:
        return [shop.make(stage) for stage in upto(stages, "qvm")][-1]
