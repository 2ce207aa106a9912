"""The work of the stages that train a model that values steps; see `qstar_core.jobs`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

from qstar_core.config import RunConfig, TrainingConfig
from qstar_core.domains.problem_table import read_problems
from qstar_core.finishing import put
from qstar_core.loading import expect, planned_annotations
from qstar_core.policies.checkpoint import backbone
from qstar_core.policies.licence import licence_of
from qstar_core.store import dataset, open_store
from qstar_core.training.needed import ADAPTER, VALUE_MODEL, check_installed

Progress = Callable[[int, int, str, str], None]
Spec = dict[str, Any]
Receipt = dict[str, Any]


def qvm(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Trains the Q-value model and measures it on held-out problems.

    All labels are in memory, about 290 MB per million steps; see `qstar_core.labels.reading`.
    """
    _check_installed("qvm", config.qvm)
    from qstar_core.audit.questions import check_leakage
    from qstar_core.audit.steps import conflicts
    from qstar_core.labelling import input_of
    from qstar_core.labels.reading import read_labels
    from qstar_core.values.trackers import following
    from qstar_core.values.train import Surroundings, train_qvm

    labelled = dataset.data_files(input_of(spec, "labels") or "")
    imported = config.rollouts.import_file is not None  # may have held-out problems too
    frame = read_labels(labelled, "train" if imported else None)
    known = read_problems(spec["inputs"]["problems"], "train")
    allowed = check_leakage(spec["inputs"]["problems"], config)
    folder, found = backbone(config)
    expect(spec, "backbone", found)
    store = open_store(spec["uri"])
    scratch, kept = store.scratch(), store.kept(spec["shard"])
    around = Surroundings(kept, following(config.runtime.trackers, spec["uri"]))
    start = time.monotonic()

    def report(step: int, of: int, note: str) -> None:
        progress(step, of, "updates", note)

    given = (
        frame,
        known,
        folder,
        scratch,
        config.qvm,
        config.qvm.seed_of(config.seed),
        report,
        around,
    )
    figures, predictions = train_qvm(*given)
    figures["seconds"] = round(time.monotonic() - start, 3)
    figures["licence"] = licence_of(folder)
    if conflicting := conflicts(labelled)["conflicting"]:
        figures["conflicts"] = conflicting
    if allowed:
        figures["allowed"] = allowed
    dataset.write_table(scratch / "predictions.parquet", predictions.to_arrow())
    files = sorted(f for f in scratch.iterdir() if f.is_file())
    receipt = put(spec, scratch, files, figures)
    shutil.rmtree(kept, ignore_errors=True)
    return receipt


def _check_installed(section: str, settings: TrainingConfig) -> None:
    """Refuses the training of a value model that its environment lacks packages for."""
    check_installed(section, (*VALUE_MODEL, *(ADAPTER if settings.lora_rank else ())))


def step_annotations(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Reads a file of step annotations."""
    from qstar_core.annotations.table import write_annotations

    file = planned_annotations(spec, config)
    scratch = open_store(spec["uri"]).scratch()
    asked = config.domain.name, config.prm.neutral
    figures = write_annotations(file, *asked, scratch, progress)
    return put(spec, scratch, sorted(scratch.iterdir()), figures)


def prm(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Trains the process reward model and measures it on held-out problems."""
    _check_installed("prm", config.prm)
    from qstar_core.reward_model import train
    from qstar_core.values.trackers import following
    from qstar_core.values.train import Surroundings

    store, start = open_store(spec["uri"]), time.monotonic()
    scratch, kept = store.scratch(), store.kept(spec["shard"])
    around = Surroundings(kept, following(config.runtime.trackers, spec["uri"]), "prm")

    def report(step: int, of: int, note: str) -> None:
        progress(step, of, "updates", note)

    figures = train(spec, config, scratch, report, around)
    figures["seconds"] = round(time.monotonic() - start, 3)
    files = sorted(f for f in scratch.iterdir() if f.is_file())
    receipt = put(spec, scratch, files, figures)
    shutil.rmtree(kept, ignore_errors=True)
    return receipt
