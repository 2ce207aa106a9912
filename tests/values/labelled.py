"""Label rows of tiny countdown rollouts, and short trainings on them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from qstar_core.config import CountdownRanges, QvmConfig, RolloutsConfig
from qstar_core.domains import countdown_problems
from qstar_core.labels.best_of_rollouts import best_of_rollouts
from qstar_core.labels.steps import as_paths
from qstar_core.policies.transformers import TransformersPolicy
from qstar_core.rollouts.sample import sample_rollouts
from qstar_core.values.data import Sequences, encode, trajectories
from qstar_core.values.model import load_tokenizer
from qstar_core.values.train import ALONE, Surroundings, train_qvm
from tests.models import tiny_policy

PROBLEMS = countdown_problems.generate("train", 30, CountdownRanges(numbers=(3,)), seed=0)
PROMPTS = {p.id: p.prompt for p in PROBLEMS}


@lru_cache(maxsize=1)
def labelled() -> pl.DataFrame:
    policy = TransformersPolicy(tiny_policy(), "float64", "cpu", 64)
    table = sample_rollouts(PROBLEMS, policy, RolloutsConfig(samples=4, max_new_tokens=30), 0)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    # the tiny policy never solves anything: call every other rollout correct
    odd = pl.col("sample_index") % 2 == 1
    frame = frame.with_columns(outcome=pl.when(odd).then(pl.lit("correct")).otherwise("outcome"))
    return best_of_rollouts(as_paths(frame.lazy()), 1.0).collect()


@lru_cache(maxsize=1)
def sequences() -> Sequences:
    return encode(trajectories(labelled()), PROMPTS, load_tokenizer(tiny_policy()), "interval")


def train(
    out: Path,
    around: Surroundings = ALONE,
    labels: pl.DataFrame | None = None,
    backbone: Path | None = None,
    notes: list[tuple[int, int, str]] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Trains on `labelled`; returns the figures."""
    config = QvmConfig(**{"holdout": 0.3, "batch_size": 16, "bf16": False, **settings})
    rows = labelled() if labels is None else labels

    def report(done: int, of: int, note: str) -> None:
        if notes is not None:
            notes.append((done, of, note))

    start = tiny_policy() if backbone is None else backbone
    figures, predictions = train_qvm(rows, PROBLEMS, start, out, config, 0, report, around)
    assert set(predictions.columns) >= {"problem_id", "step_index", "q", "y", "q_star"}
    return figures
