"""The work of the stages that train a model that values steps; see `qstar_core.jobs`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl

from qstar_core.config import RunConfig, TrainingConfig
from qstar_core.domains.problem_table import read_problems
from qstar_core.finishing import put
from qstar_core.loading import expect, planned_annotations
from qstar_core.mdp import Problem
from qstar_core.policies.identity import backbone
from qstar_core.policies.licence import licence_of
from qstar_core.store import dataset, open_store
from qstar_core.training.needed import ADAPTER, VALUE_MODEL, check_installed
from qstar_core.training.processes import is_first

Progress = Callable[[int, int, str, str], None]
Spec = dict[str, Any]
Receipt = dict[str, Any]
Model = Literal["qvm", "prm"]


@dataclass(frozen=True)
class Examples:
    """What a value model is trained on.

    Attributes:
        files: the labels as files.
        frame: their rows.
        problems: they belong to.
        allowed: what the leak guard found and was told to allow.
    """

    files: Sequence[str]
    frame: pl.DataFrame
    problems: list[Problem]
    allowed: dict[str, Any]


def qvm(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Trains the Q-value model and measures it on held-out problems.

    All labels are in memory, about 290 MB per million steps; see `qstar_core.labels.reading`.
    """
    from qstar_core.labelling import input_of

    def examples() -> Examples:
        labelled = dataset.data_files(input_of(spec, "labels") or "")
        return _of_rollouts(spec, config, labelled, "qvm")

    return _value_model(spec, config, progress, "qvm", examples, lambda frame, folder: {})


def prm(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Trains the process reward model and measures it on held-out problems."""
    from qstar_core import reward_model
    from qstar_core.annotations.table import annotated_problems
    from qstar_core.audit.questions import check_leakage
    from qstar_core.labels.reading import read_labels

    def examples() -> Examples:
        inputs = spec["inputs"]
        annotations = inputs.get("annotations")
        if annotations is None:
            found = _of_rollouts(spec, config, dataset.data_files(inputs["labels_prm"]), "prm")
            return replace(found, frame=reward_model.targets(found.frame, config.prm))
        allowed = check_leakage(inputs["problems"], config, model="prm", annotations=annotations)
        files = dataset.data_files(annotations)
        known = annotated_problems(annotations, config.domain.name)
        return Examples(files, read_labels(files), known, allowed)

    return _value_model(spec, config, progress, "prm", examples, reward_model.finish)


def _of_rollouts(spec: Spec, config: RunConfig, files: list[str], model: Model) -> Examples:
    """The labels of a run's own rollouts."""
    from qstar_core.audit.questions import check_leakage
    from qstar_core.labels.reading import read_labels

    allowed = check_leakage(spec["inputs"]["problems"], config, model=model)
    imported = config.rollouts.import_file is not None  # may have held-out problems too
    frame = read_labels(files, "train" if imported else None)
    return Examples(files, frame, read_problems(spec["inputs"]["problems"], "train"), allowed)


def _value_model(
    spec: Spec,
    config: RunConfig,
    progress: Progress,
    section: Model,
    examples: Callable[[], Examples],
    finish: Callable[[pl.DataFrame, Path], dict[str, Any]],
) -> Receipt:
    """The frame of both: examples, backbone, training, figures, files.

    Args:
        spec: of the shard.
        config: of the run.
        progress: of the worker.
        section: of the configuration that it is trained by.
        examples: reads what it is trained on.
        finish: changes the folder of the model that was trained on some rows; returns figures.
    """
    settings: TrainingConfig = getattr(config, section)
    check_installed(section, (*VALUE_MODEL, *(ADAPTER if settings.lora_rank else ())))
    from qstar_core.audit.steps import conflicts
    from qstar_core.reward_model import reworded
    from qstar_core.values.trackers import following
    from qstar_core.values.train import Surroundings, train_qvm

    given = examples()
    start, found = backbone(config, section)
    expect(spec, "backbone", found)
    store, began = open_store(spec["uri"]), time.monotonic()
    scratch, kept = store.scratch(), store.kept(spec["shard"])
    around = Surroundings(kept, following(config.runtime.trackers, spec["uri"]), section)

    def report(step: int, of: int, note: str) -> None:
        progress(step, of, "updates", note)

    how = settings, settings.seed_of(config.seed), report, around
    with reworded() if section == "prm" else nullcontext():
        figures, predictions = train_qvm(given.frame, given.problems, start, scratch, *how)
    if not is_first():
        return {}
    figures |= finish(given.frame, scratch)
    figures |= {"seconds": round(time.monotonic() - began, 3), "licence": licence_of(start)}
    if conflicting := conflicts(given.files)["conflicting"]:
        figures["conflicts"] = conflicting
    if given.allowed:
        figures["allowed"] = given.allowed
    dataset.write_table(scratch / "predictions.parquet", predictions.to_arrow())
    receipt = put(spec, scratch, sorted(f for f in scratch.iterdir() if f.is_file()), figures)
    shutil.rmtree(kept, ignore_errors=True)
    return receipt


def step_annotations(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Reads a file of step annotations."""
    from qstar_core.annotations.table import write_annotations

    file = planned_annotations(spec, config)
    scratch = open_store(spec["uri"]).scratch()
    asked = config.domain.name, config.prm.neutral
    figures = write_annotations(file, *asked, scratch, progress)
    return put(spec, scratch, sorted(scratch.iterdir()), figures)
