"""The stages of a process reward model: its labels, or the annotations of a file, and its training.

Only runs that need one have them: a method with ``reward: prm`` while ``prm.path`` names no model,
or ``qstar train-prm``. The labels from rollouts are those of ``mean_of_rollouts`` at gamma = 1, an
ordinary data set of labels beside the Q-value model's, and the same one where that takes the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qstar_core.annotations.formats import EXAMPLE
from qstar_core.config import LabelsConfig, RunConfig, SearchConfig
from qstar_core.policies import scoring
from qstar_core.policies.identity import backbone
from qstar_core.rollouts import import_file
from qstar_core.stage import Stage, add

LABELS = LabelsConfig(method="mean_of_rollouts", gamma=1.0)
"""A step is as right as the share of the policy's samples after it that succeed, however long."""
FROM_ROLLOUTS, FROM_FILE = "labels_prm", "annotations"
"""Names of the stages that its labels come from."""


def trains(config: RunConfig, methods: Sequence[SearchConfig], until: str | None) -> bool:
    """Whether a run trains a process reward model.

    Args:
        config: of the run.
        methods: those that it evaluates.
        until: the last stage wanted.
    """
    wanted = until == "prm" or any(method.reward == "prm" for method in methods)
    return wanted and config.prm.path is None


def value_holdouts(config: RunConfig) -> list[list[Any]]:
    """(share, seed) of the training problems that value models of a run are measured on.

    Each pair says by `qstar_core.values.data.held_out` which they are. A reward model counts where
    the run trains one.
    """
    judged = trains(config, config.evaluation.methods, None)
    models = [config.qvm, *([config.prm] if judged else [])]
    pairs = {(model.holdout, model.seed_of(config.seed)) for model in models}
    return [list(pair) for pair in sorted(pairs)]


def add_prm(
    stages: dict[str, Stage], config: RunConfig, made_from: Mapping[str, Any], pools: Sequence[str]
) -> None:
    """Adds the stages to those of a run.

    Args:
        stages: those before them, the rollouts among them unless the labels are a file's.
        config: of the run.
        made_from: what decides labels besides their method.
        pools: names of the stages of pools.

    Raises:
        UserError: the file or the backbone is missing.
    """
    prm = config.prm
    if prm.annotations is not None:
        read = import_file.sha256(prm.annotations, "prm.annotations", EXAMPLE)
        rows = {"domain": config.domain.name, "annotations": read, "neutral": prm.neutral}
        add(stages, config.out, FROM_FILE, rows)
        labels = FROM_FILE
    else:
        rows = {**made_from, **LABELS.rows()}
        add(stages, config.out, FROM_ROLLOUTS, rows, "problems", "rollouts", *pools)
        labels = FROM_ROLLOUTS
    _, start = backbone(config, "prm")
    fit = {"labels": stages[labels].key, "backbone": start, "seed": prm.seed_of(config.seed)}
    add(stages, config.out, "prm", {**scoring.training_prm(prm), **fit}, "problems", labels)
