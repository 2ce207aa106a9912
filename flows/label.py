"""One stage: the Q-labels of published rollouts."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import run_name, upto, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="label", flow_run_name=run_name, persist_result=False)
def label(config: RunConfig) -> dict[str, Any]:
    """Labels every step of the rollouts; never generates a token.

    Fitted Q iteration makes its rounds before the last too.

    Returns:
        The manifest of the data set.
    """
    stages = pipeline.plan(config, until="labels")
    with workshop(config) as shop:
        return [shop.make(stage) for stage in upto(stages, "labels")][-1]
