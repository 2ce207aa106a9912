"""What decides the values of the scoring models (QVM and PRM), for the run keys; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qstar_core.config import PrmConfig, QvmConfig, SearchConfig
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.policies.checkpoint import fingerprint, resolve_checkpoint

SCORING_ONLY = ("backend", "engine")
"""Fields of ``qvm`` that its training does not look at."""


def value_fingerprint(
    folder: Path,
    dtype: str,
    *,
    backend: str = "transformers",
    engine: Mapping[str, Any] | None = None,
) -> str:
    """The fingerprint of a Q-value model together with how it is run.

    In transformers it is that of its checkpoint.

    Args:
        folder: the checkpoint.
        dtype: numeric precision.
        backend: the engine's name.
        engine: arguments of the engine.
    """
    plain = fingerprint(folder, dtype)
    if backend == "transformers":
        return plain
    return content_id("value", plain, {"backend": backend, "engine": dict(engine or {})})


def given_value(qvm: QvmConfig) -> str:
    """The fingerprint that the model of ``qvm.path`` will have.

    Raises:
        UserError: it is missing.
    """
    folder = resolve_checkpoint(str(qvm.path), "qvm.path")
    return value_fingerprint(folder, qvm.score_dtype, backend=qvm.backend, engine=qvm.engine)


def training(qvm: QvmConfig) -> dict[str, Any]:
    """The settings that decide the weights of a QVM."""
    return {name: value for name, value in qvm.rows().items() if name not in SCORING_ONLY}


def scoring(qvm: QvmConfig) -> dict[str, Any]:
    """What decides a Q-value besides the weights.

    Below float64 that is the shape of the batch too, and with it which prefixes are cached.
    """
    what: dict[str, Any] = {}
    if qvm.backend != "transformers":
        what["value_engine"] = [qvm.backend, qvm.engine]
    if qvm.score_dtype != "float64":
        what["score_batch_size"] = qvm.score_batch_size
        if qvm.backend == "transformers":
            what["cache_mb"] = qvm.cache_mb
    return what


def rewarding(prm: PrmConfig, methods: Sequence[SearchConfig]) -> dict[str, Any]:
    """What decides the values of the process reward model; nothing where no method asks it.

    Raises:
        UserError: a method has ``reward: prm`` and no model is named, or it is missing.
    """
    named = [method.name for method in methods if method.reward == "prm"]
    if not named:
        return {}
    if prm.path is None:
        raise UserError(
            f"prm.path: method {named[0]!r} has reward: prm, and no model is named",
            next_step="--set prm.path=FOLDER (a token-classification checkpoint with one label), "
            "or another reward: rules, logprob, none",
        )
    folder = resolve_checkpoint(prm.path, "prm.path")
    what: dict[str, Any] = {"prm": fingerprint(folder, prm.dtype)}
    if prm.dtype != "float64":
        what["prm_shape"] = [prm.batch_size, prm.cache_mb]
    return what
