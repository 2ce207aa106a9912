"""What a shard worker loads: models, once per process and kept for all its shards, and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qstar_core.config import PolicyConfig, RunConfig, SearchConfig
from qstar_core.errors import UserError
from qstar_core.policies import Policy
from qstar_core.policies.checkpoint import resolve_adapter, resolve_checkpoint
from qstar_core.policies.metered import Meter, metered, unmetered
from qstar_core.rollouts import import_file
from qstar_core.store import dataset
from qstar_core.values import ValueModel

if TYPE_CHECKING:
    from qstar_core.values.score import TransformersValue

Spec = dict[str, Any]


def load_policy(config: PolicyConfig, meter: Meter | None = None) -> Policy:
    """The policy of this worker, loaded once; counted where there is a meter."""
    return metered(_load_policy(config.model_dump_json()), meter, config.batch_size)


def load_judge(config: PolicyConfig, meter: Meter | None = None) -> Policy:
    """The policy that judges answers, loaded once, beside the one that gives them."""
    return metered(_load_judge(config.model_dump_json()), meter, config.batch_size)


@lru_cache(maxsize=1)
def _load_judge(settings: str) -> Policy:
    return _open_policy(settings, "judge")


@lru_cache(maxsize=1)
def _load_policy(settings: str) -> Policy:
    return _open_policy(settings, "policy")


def _open_policy(settings: str, place: str) -> Policy:
    config = PolicyConfig.model_validate_json(settings)
    if config.backend == "server":
        from qstar_core.policies.server import ServerPolicy

        return ServerPolicy(config)
    if config.backend == "scripted":
        from qstar_core.policies.script import ScriptPolicy

        return ScriptPolicy(config.path)
    if config.backend == "vllm":
        return _open_in_vllm(settings, place)
    folder = resolve_checkpoint(config.path, "policy.path")
    from qstar_core.policies.transformers import TransformersPolicy

    return TransformersPolicy(folder, config.dtype, config.device, config.batch_size, config.chat)


@cache
def _open_in_vllm(settings: str, place: str) -> Policy:
    from qstar_core.policies.vllm import VllmPolicy
    from qstar_core.policies.vllm_engine import claim

    claim(place, settings)
    config = PolicyConfig.model_validate_json(settings)
    return VllmPolicy(
        resolve_checkpoint(config.path, "policy.path"),
        config.dtype,
        config.batch_size,
        chat=config.chat,
        lora=resolve_adapter(config.lora) if config.lora is not None else None,
        engine=config.engine,
    )


def load_value(folder: Path, config: RunConfig) -> ValueModel:
    """The QVM of this worker, loaded once."""
    qvm = config.qvm
    if qvm.backend == "vllm":
        return _load_in_vllm(folder, qvm.score_dtype, qvm.score_batch_size, json.dumps(qvm.engine))
    shape = qvm.score_batch_size, qvm.cache_mb
    return _fresh(_load_value(folder, qvm.score_dtype, config.policy.device, *shape))


def load_reward_model(
    config: RunConfig, method: SearchConfig, inputs: Mapping[str, str]
) -> ValueModel | None:
    """The process reward model of this worker, loaded once; None where a method asks none.

    Args:
        config: of the run.
        method: that searches.
        inputs: folders of the data sets of the shard, ``prm`` among them if the run trains one.
    """
    prm = config.prm
    if method.reward != "prm" or (prm.path is None and "prm" not in inputs):
        return None
    if prm.path is not None:
        folder = resolve_checkpoint(prm.path, "prm.path")
    else:
        folder = dataset.local_folder(inputs["prm"])
    shape = prm.score_batch_size, prm.cache_mb
    return _fresh(_load_value(folder, prm.dtype, config.policy.device, *shape))


def _fresh(value: TransformersValue) -> TransformersValue:
    """Without the prefixes of the shard before, so that no value depends on it by rounding."""
    value.scorer.cache.clear()
    return value


@lru_cache(maxsize=2)
def _load_value(
    folder: Path, dtype: str, device: str, batch_size: int, cache_mb: int
) -> TransformersValue:
    from qstar_core.values.score import TransformersValue

    return TransformersValue(folder, dtype, device, batch_size, cache_mb)


@cache
def _load_in_vllm(folder: Path, dtype: str, batch_size: int, engine: str) -> ValueModel:
    from qstar_core.policies.vllm_engine import claim
    from qstar_core.values.vllm import VllmValue

    claim("qvm", json.dumps([str(folder), dtype, batch_size, engine]))
    return VllmValue(folder, dtype, batch_size, engine=json.loads(engine))


def told(policy: Policy, config: PolicyConfig) -> dict[str, Any]:
    """What servers behind a policy tell of themselves, for the receipt."""
    if config.backend != "server":
        return {}
    from qstar_core.policies.server import ServerPolicy

    engine = unmetered(policy)
    return engine.figures() if isinstance(engine, ServerPolicy) else {}


def expect(spec: Spec, model: str, found: str) -> None:
    """Makes sure that a model is the one that the run key was made from.

    Raises:
        UserError: its files have changed since the run was planned.
    """
    planned = spec.get("models", {}).get(model, found)
    if planned != found:
        raise UserError(
            f"the {model}'s checkpoint has changed since the run was planned "
            f"({planned} then, {found} now)",
            safe="shards that are finished were made with the planned one",
            next_step="run the same command again: it plans anew, under another key",
        )


def planned_file(spec: Spec, config: RunConfig) -> tuple[Path, str]:
    """The imported file with plain lines, and the SHA-256 of the file as it was given.

    Raises:
        UserError: it is missing, or has changed since the run was planned.
    """
    given = config.rollouts.import_file or ""
    found = import_file.sha256(given)
    _expect_file(spec, "import_file", f"{import_file.FIELD}: {given}", found)
    return import_file.uncompressed(given), found


def planned_annotations(spec: Spec, config: RunConfig) -> Path:
    """The file of annotations with plain lines.

    Raises:
        UserError: it is missing, or has changed since the run was planned.
    """
    given, field = config.prm.annotations or "", "prm.annotations"
    found = import_file.sha256(given, field)
    _expect_file(spec, "annotations", f"{field}: {given}", found)
    return import_file.uncompressed(given, field)


def _expect_file(spec: Spec, name: str, file: str, found: str) -> None:
    if spec.get("models", {}).get(name, found) != found:
        raise UserError(
            f"{file} has changed since the run was planned",
            safe="shards that are finished were made from the planned one",
            next_step="run the same command again: it plans anew, under another key",
        )
