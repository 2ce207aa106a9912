"""The models that searches and their rewards ask, as a shard worker loads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qstar_core.adaptive_stages import embedding_of, needs_q, section
from qstar_core.config import RunConfig, SearchConfig
from qstar_core.config_adaptive import Pooling, expanded
from qstar_core.loading import expect, load_policy, load_reward_model, load_value
from qstar_core.policies import Policy
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.store import dataset
from qstar_core.values import ValueModel

if TYPE_CHECKING:
    from qstar_core.adaptive.embedding import Encoder

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Models:
    """What searches ask.

    Attributes:
        policy: the frozen LLM.
        value: the Q-value model; None where no method asks it.
        prm: the process reward model; None likewise.
    """

    policy: Policy
    value: ValueModel | None = None
    prm: ValueModel | None = None


def load_models(spec: Spec, config: RunConfig, methods: Sequence[SearchConfig]) -> Models:
    """The models of some methods, each loaded once per worker.

    Raises:
        UserError: one is missing, or has changed since the run was planned.
    """
    inner, inputs = expanded(methods, config.adaptive), spec["inputs"]
    value = prm = None
    if needs_q(config, methods):
        if config.qvm.path is not None:
            folder = resolve_checkpoint(config.qvm.path, "qvm.path")
        else:
            folder = dataset.local_folder(inputs["qvm"])
        value = load_value(folder, config)
        if config.qvm.path is not None:
            expect(spec, "qvm", value.fingerprint)
    policy = load_policy(config.policy, spec.get("meter"))
    expect(spec, "policy", policy.fingerprint)
    rewarded = next((method for method in inner if method.reward == "prm"), None)
    if rewarded is not None:
        prm = load_reward_model(config, rewarded, inputs)
        if prm is not None and config.prm.path is not None:
            expect(spec, "prm", prm.fingerprint)
    return Models(policy, value, prm)


def load_encoder(spec: Spec, config: RunConfig) -> Encoder:
    """What embeds the questions, loaded once per worker.

    Raises:
        UserError: it is missing, or has changed since the run was planned.
    """
    encoder = _load_encoder(embedding_of(config), config.policy.device, section(config).pooling)
    expect(spec, "embedding", encoder.fingerprint)
    return encoder


@lru_cache(maxsize=1)
def _load_encoder(folder: Path, device: str, pooling: Pooling) -> Encoder:
    from qstar_core.adaptive.embedding import Encoder

    return Encoder(folder, device, pooling=pooling)
