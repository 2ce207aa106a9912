"""A small run up to its models, with a policy that solves some problems, without Prefect."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from qstar_core import pipeline
from qstar_core.config import RunConfig
from tests.provenance.runs import make

RANGES = {"numbers": 3, "min_number": 1, "max_number": 9, "min_target": 1, "max_target": 20}


def config_of(out: Path, **qvm: Any) -> RunConfig:
    """The run; about half of its 80 problems are held out."""
    tree = {
        "name": "small",
        "out": str(out),
        "domain": {"train_problems": 80, "test_problems": 4, "ranges": RANGES},
        "policy": {"path": "reference:countdown-policy"},
        "rollouts": {"samples": 5},
        "labels": {"gamma": 0.9},
        "qvm": {"holdout": 0.5, "batch_size": 32, "learning_rate": 0.002, "bf16": False, **qvm},
        "card": {"licence": "Apache-2.0"},
    }
    return RunConfig.model_validate(tree)


@lru_cache(maxsize=1)
def folder() -> Path:
    """Where the runs of the tests lie."""
    return Path(mkdtemp(prefix="qstar-values-"))


@lru_cache(maxsize=4)
def trained(loss: str = "bce", calibration: str = "temperature") -> str:
    """Folder of a published Q-value model; not to be changed."""
    config = config_of(folder(), loss=loss, calibration=calibration)
    return make(config, "qvm")["qvm"].uri


@lru_cache(maxsize=2)
def trained_prm(estimation: str = "hard") -> str:
    """Folder of a published process reward model of the same rollouts; not to be changed."""
    training = {"holdout": 0.5, "batch_size": 32, "learning_rate": 0.002, "bf16": False}
    config = config_of(folder())
    prm = type(config.prm).model_validate({**training, "estimation": estimation})
    return make(config.model_copy(update={"prm": prm}), "prm")["prm"].uri


@lru_cache(maxsize=1)
def tuned() -> str:
    """Folder of a published policy, fine-tuned on the same rollouts; not to be changed."""
    config = config_of(folder())
    sft = type(config.sft).model_validate({"holdout": 0.3, "epochs": 1.0, "bf16": False})
    config = config.model_copy(update={"sft": sft})
    return make(config, "sft", pipeline.plan_policy(config))["sft"].uri
