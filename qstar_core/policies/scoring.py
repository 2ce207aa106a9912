"""What decides the values of the scoring models (QVM and PRM), for the run keys; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qstar_core.config import PrmConfig, QvmConfig, RunConfig, SearchConfig
from qstar_core.keys import content_id
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.identity import fingerprint

SCORING_ONLY = ("backend", "engine", "score_dtype")
"""Fields of ``qvm`` that its training does not look at."""
PRM_SCORING_ONLY = ("path", "dtype")
"""Fields of ``prm`` that its training does not look at."""
OF_ANNOTATIONS = ("annotations", "neutral")
"""Fields of ``prm`` that are in the key of the annotations."""
OF_ROLLOUTS = ("estimation", "threshold")
"""Fields of ``prm`` that only labels from rollouts need."""


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
    """The settings that decide the weights of a QVM, beside the backbone that it starts from.

    Where that lies (``qvm.init``) is none of them: its content is told apart by its fingerprint.
    """
    left_out = SCORING_ONLY if qvm.init is None else (*SCORING_ONLY, "init")
    return {name: value for name, value in qvm.rows().items() if name not in left_out}


def training_prm(prm: PrmConfig) -> dict[str, Any]:
    """The same of a process reward model: what it does not look at is in no key."""
    left_out = [*PRM_SCORING_ONLY, *OF_ANNOTATIONS, "init"]
    if prm.annotations is not None:
        left_out += OF_ROLLOUTS
    elif prm.estimation == "soft":
        left_out.append("threshold")
    return {name: value for name, value in prm.rows().items() if name not in left_out}


def scoring(config: RunConfig) -> dict[str, Any]:
    """What decides a Q-value besides the weights.

    Below float64 that is what is computed together and where, too: the size of the batch, which
    prefixes are cached, how many searches of how large a shard are advanced together, and the
    device that is named. Values may still differ, in their last digits, between kinds of CPU or
    GPU (``auto`` is whatever is there), numbers of threads and releases of the packages; the
    manifest has the machine and the packages, the key has not.
    """
    return _scoring(config, _together(config))


def labelling(config: RunConfig) -> dict[str, Any]:
    """What decides a Q-value of a stored action besides the weights, as in `scoring`."""
    return _scoring(config, [config.policy.device])


def _scoring(config: RunConfig, together: list[Any]) -> dict[str, Any]:
    qvm = config.qvm
    what: dict[str, Any] = {"score_dtype": qvm.score_dtype}
    if qvm.backend != "transformers":
        what["value_engine"] = [qvm.backend, qvm.engine]
    if qvm.score_dtype != "float64":
        what["score_batch_size"] = qvm.score_batch_size
        if qvm.backend == "transformers":
            what["cache_mb"] = qvm.cache_mb
        what["scored_together"] = together
    return what


def _together(config: RunConfig) -> list[Any]:
    """Device, searches advanced together, problems of a shard."""
    chosen = config.evaluation
    return [config.policy.device, chosen.active, chosen.shard_problems]


def rewarding(
    config: RunConfig, methods: Sequence[SearchConfig], trained: str | None = None
) -> dict[str, Any]:
    """What decides the values of the process reward model; nothing where no method asks it.

    Below float64 as in `scoring`.

    Args:
        config: of the run.
        methods: those that are run.
        trained: key of the model that the run trains, where ``prm.path`` names none.

    Raises:
        UserError: the model that is named is missing.
    """
    if not any(method.reward == "prm" for method in methods):
        return {}
    prm = config.prm
    what: dict[str, Any] = {"prm": trained, "prm_dtype": prm.dtype}
    if prm.path is not None:
        folder = resolve_checkpoint(prm.path, "prm.path")
        what = {"prm": fingerprint(folder, prm.dtype)}
    if prm.dtype != "float64":
        what["prm_shape"] = [prm.score_batch_size, prm.cache_mb]
        what["scored_together"] = _together(config)
    return what
