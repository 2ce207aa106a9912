"""Stages of AdaReasoner: logged episodes, and the configuration policy that is trained."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import run_name, upto, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="train-adaptive", flow_run_name=run_name, persist_result=False)
def train_adaptive(config: RunConfig) -> dict[str, Any]:
    """Tries random configurations on the training questions, and trains the policy.

    The problems are made first if they are not there; models that the searches ask have to be.

    Returns:
        The manifest of the data set.
    """
    stages = pipeline.plan(config, until="adaptive")
    with workshop(config) as shop:
        return [shop.make(stage) for stage in upto(stages, "adaptive")][-1]
