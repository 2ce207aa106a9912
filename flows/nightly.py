"""The nightly flow: problems, rollouts, Q-labels, Q-value model, evaluation, report.

With ``rounds`` it does all that in each round of expert iteration, between them fine-tunes the
policy, and in the end puts the rounds side by side.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow

from flows.stages import run_name, workshop
from qstar_core import pipeline
from qstar_core.config import RunConfig


@flow(name="nightly", flow_run_name=run_name, persist_result=False)
def nightly(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Makes every data set that is not there yet, in order.

    Returns:
        The manifest of each stage, by its name; of later rounds by its label.
    """
    rounds = pipeline.rounds(config)
    made: dict[str, dict[str, Any]] = {}
    with workshop(config) as shop:
        for each in rounds:
            if len(rounds) > 1:
                shop.show.say(f"Round {each.number} of {len(rounds)}: {each.config.policy.path}")
            its = replace(shop, config=each.config)
            made |= {each.label(stage.name): its.make(stage) for stage in each.stages.values()}
        whole = pipeline.summary(config)
        if whole is not None:
            made[whole.name] = shop.make(whole)
    return made
