"""A plan before the weights are there: small checkpoints in the place of those still on a hub.

How much a run takes does not depend on the weights, so ``--plan`` need not fetch gigabytes for it.
The keys do depend on them: those of a plan with stand-ins are not the run's.
"""

from __future__ import annotations

from qstar_core.config import RunConfig, Section
from qstar_core.policies.checkpoint import on_hub_only

STAND_INS = {
    "policy.path": "reference:countdown-policy",
    "qvm.init": "reference:countdown-policy",
    "qvm.path": "reference:countdown-qvm",
    "prm.init": "reference:countdown-policy",
    "prm.path": "reference:countdown-qvm",
    "sft.base": "reference:countdown-policy",
    "adaptive.embedding": "reference:countdown-policy",
}


def with_stand_ins(config: RunConfig) -> tuple[RunConfig, dict[str, str]]:
    """A run with stand-ins for the checkpoints of a hub that are not on this machine.

    Returns:
        The run, and field and name of each such checkpoint; the same run where there is none.
    """
    absent = {}
    for field, stand_in in STAND_INS.items():
        section, _, name = field.partition(".")
        own: Section | None = getattr(config, section)
        path = getattr(own, name) if own is not None else None
        served = field == "policy.path" and config.policy.without_weights
        if own is None or path is None or served:
            continue
        if on_hub_only(path):
            absent[field] = path
            replaced = own.model_copy(update={name: stand_in})
            config = config.model_copy(update={section: replaced})
    return config, absent
