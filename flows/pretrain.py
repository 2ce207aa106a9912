"""The embedded reference policy, trained from generated plays into a folder."""

from __future__ import annotations

import os
from typing import Any

from prefect import flow

from flows.stages import workshop
from qstar_core.config import RunConfig


@flow(name="pretrain", flow_run_name="pretrain-{config.name}", persist_result=False)
def pretrain(config: RunConfig, out: str) -> dict[str, Any]:
    """Trains the reference policy in one worker.

    Args:
        config: of it the ``pretrain`` section is used.
        out: folder of the checkpoint.

    Returns:
        The receipt: files and figures.
    """
    spec = {
        "stage": "pretrain",
        "shard": "model",
        "uri": out,
        "config": config.model_dump(mode="json"),
        "threads": config.runtime.threads or os.cpu_count() or 1,
    }
    estimate = {"units": config.pretrain.steps, "unit": "updates"}
    with workshop(config) as shop:
        receipt = shop.run_shards([spec], estimate)[0]
        shop.show.end(receipt["rows"])
    return receipt
