"""The embedded reference policy, trained from generated plays into a folder."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.stages import pretrain_policy
from qstar_core.config import RunConfig


@flow(name="pretrain", flow_run_name="pretrain-{config.name}", persist_result=False)
def pretrain(config: RunConfig, out: str) -> dict[str, Any]:
    """Trains the reference policy.

    Args:
        config: of it the ``pretrain`` section is used.
        out: folder of the checkpoint.

    Returns:
        The receipt: files and figures.
    """
    return pretrain_policy(config, out)
