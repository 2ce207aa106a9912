"""One stage: the policy, fine-tuned on its correct published rollouts."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import run_name, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="train-policy", flow_run_name=run_name, persist_result=False)
def train_policy(config: RunConfig) -> dict[str, Any]:
    """Fine-tunes the policy; ``policy.path`` of another run may name what it makes.

    Returns:
        The manifest of the data set.
    """
    with workshop(config) as shop:
        return shop.make(pipeline.plan_policy(config)["sft"])
