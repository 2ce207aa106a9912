"""Two stages: the problems, and every search method on the held-out ones."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import pick, run_name, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="evaluate", flow_run_name=run_name, persist_result=False)
def evaluate(config: RunConfig) -> dict[str, Any]:
    """Runs the search methods at one token budget with the policy and the Q-value model.

    The problems are made first if they are not there.

    Returns:
        The manifest of the data set.
    """
    stages = pipeline.plan(config)
    with workshop(config) as shop:
        shop.make(stages["problems"])
        return shop.make(pick(stages, "evaluation"))
