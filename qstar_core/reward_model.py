"""Training of a process reward model (PRM): the value model's trainer on labels of steps.

Labels are those of ``mean_of_rollouts`` (Math-Shepherd, arXiv 2312.08935, equations 2 and 3: hard
estimation is 1 where any completion succeeds, soft the share of those that do) or annotations of a
file (PRM800K, arXiv 2305.20050). The result is a token-classification checkpoint whose one logit at
a step's last token, through a sigmoid, is the probability that the step is right.

1. Math-Shepherd writes the label as a token, ``+`` or ``-``, behind a tag; here the head has one
   output and the loss is that of ``prm.loss``, binary cross-entropy by default, which is the same
   loss over these two tokens.
2. Hard estimation has a threshold, 0 in the paper: where many samples are drawn from a state, one
   lucky success is weak evidence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from qstar_core.annotations.table import annotated_problems
from qstar_core.audit.questions import check_leakage
from qstar_core.audit.steps import conflicts
from qstar_core.config import PrmConfig, RunConfig
from qstar_core.domains.problem_table import read_problems
from qstar_core.errors import UserError
from qstar_core.labels.reading import read_labels
from qstar_core.loading import expect
from qstar_core.policies.checkpoint import backbone
from qstar_core.policies.licence import licence_of
from qstar_core.store import dataset

if TYPE_CHECKING:
    from qstar_core.values.train import Surroundings

LABEL = "right"
"""Name of the one label of the head."""
REWORDED = {"qvm.": "prm.", "Q-value model": "process reward model"}
"""The trainer speaks of the model that it was written for."""

Spec = dict[str, Any]


def targets(labels: pl.DataFrame, prm: PrmConfig) -> pl.DataFrame:
    """Labels from rollouts as the targets of training: hard or soft estimation.

    Args:
        labels: rows of ``mean_of_rollouts``, y in [0, 1].
        prm: estimation and threshold.

    Returns:
        The same rows; y is 0 or 1 with hard estimation.
    """
    if prm.estimation == "soft":
        return labels
    return labels.with_columns(y=(pl.col("y") > prm.threshold).cast(pl.Float64))


def train(
    spec: Spec,
    config: RunConfig,
    folder: Path,
    progress: Callable[[int, int, str], None],
    around: Surroundings,
) -> dict[str, Any]:
    """Trains a PRM into a folder: the checkpoint, and the held-out predictions.

    Args:
        spec: of the shard; its inputs are the problems and the labels or annotations.
        config: of the run.
        folder: where the files are written.
        progress: called with (updates done, updates in all, a note).
        around: where checkpoints go, and who follows the training.

    Returns:
        Figures of `qstar_core.values.train.train_qvm`, the share of right steps, and what is
        doubtful about the labels.

    Raises:
        UserError: test problems are among those trained on, or there is nothing to train on.
    """
    from qstar_core.values.train import train_qvm

    inputs, prm = spec["inputs"], config.prm
    annotations = inputs.get("annotations")
    allowed = check_leakage(inputs["problems"], config, model="prm", annotations=annotations)
    files = dataset.data_files(annotations or inputs["labels_prm"])
    if annotations is not None:
        frame, known = read_labels(files), annotated_problems(annotations, config.domain.name)
    else:
        imported = config.rollouts.import_file is not None  # may have held-out problems too
        frame = targets(read_labels(files, "train" if imported else None), prm)
        known = read_problems(inputs["problems"], "train")
    start, found = backbone(config, "prm")
    expect(spec, "backbone", found)
    with reworded():
        figures, predictions = train_qvm(
            frame, known, start, folder, prm, prm.seed_of(config.seed), progress, around
        )
    figures["licence"] = licence_of(start)
    figures["right_share"] = round(float(frame["y"].mean() or 0.0), 6)  # type: ignore[arg-type]
    if conflicting := conflicts(files)["conflicting"]:
        figures["conflicts"] = conflicting
    if allowed:
        figures["allowed"] = allowed
    dataset.write_table(folder / "predictions.parquet", predictions.to_arrow())
    _name_the_label(folder / "config.json")
    return figures


@contextmanager
def reworded() -> Iterator[None]:
    """Errors of the trainer name the fields of ``prm`` instead of those of ``qvm``."""
    try:
        yield
    except UserError as error:
        parts = [error.what, error.safe, error.next_step]
        for said, meant in REWORDED.items():
            parts = [part.replace(said, meant) for part in parts]
        raise UserError(parts[0], safe=parts[1], next_step=parts[2]) from error


def _name_the_label(file: Path) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {"id2label": {"0": LABEL}, "label2id": {LABEL: 0}}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
