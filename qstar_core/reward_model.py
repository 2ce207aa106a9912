"""What a process reward model (PRM) is beside a value model: its labels, and its name for them.

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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from qstar_core.config import PrmConfig
from qstar_core.errors import UserError

LABEL = "right"
"""Name of the one label of the head."""
REWORDED = {"qvm.": "prm.", "Q-value model": "process reward model"}
"""The trainer speaks of the model that it was written for."""


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


def finish(labels: pl.DataFrame, folder: Path) -> dict[str, Any]:
    """Gives the head's label its name in a folder; returns the share of right steps."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {"id2label": {"0": LABEL}, "label2id": {LABEL: 0}}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return {"right_share": round(float(labels["y"].mean() or 0.0), 6)}  # type: ignore[arg-type]


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
