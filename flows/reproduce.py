"""The stages of a data set made again, for ``qstar reproduce``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from prefect import flow

from flows.stages import workshop
from qstar_core.config import RunConfig
from qstar_core.pipeline import Stage


@flow(
    name="reproduce",
    flow_run_name="reproduce-{config.name}",
    persist_result=False,
    validate_parameters=False,
)
def reproduce(
    config: RunConfig, stages: list[Stage], rounds: Mapping[str, RunConfig]
) -> dict[str, dict[str, Any]]:
    """Makes stages, those that are there already apart.

    Args:
        config: of the data set, with the place of the rerun as ``out``.
        stages: in order.
        rounds: configurations of stages of later rounds of expert iteration, by their folders.

    Returns:
        The manifest of each stage, by its folder.
    """
    with workshop(config) as shop:
        quiet = replace(shop, announced=False)
        return {
            stage.uri: replace(quiet, config=rounds.get(stage.uri, config)).make(stage)
            for stage in stages
        }
