"""What is refused before a training, and what is said when memory runs out in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import torch

from qstar_core.config_training import TrainingConfig
from qstar_core.errors import UserError


def check_labels(labels: pl.DataFrame) -> None:
    """Makes sure that all labels are values in [0, 1].

    Raises:
        UserError: one is not; names the first.
    """
    wrong = labels.filter(~pl.col("y").is_between(0.0, 1.0).fill_null(False) | pl.col("y").is_nan())
    if len(wrong):
        first = wrong.row(0, named=True)
        raise UserError(
            f"{len(wrong):,} of {len(labels):,} labels are outside of [0, 1], the first one y = "
            f"{first['y']} of step {first.get('step_index', '?')} of rollout {first['rollout_id']}",
            safe="the labels are kept; nothing was trained",
            next_step="make the labels anew; those of your own have to be scaled to [0, 1]",
        )


def check_split(
    trained: pl.DataFrame, heldout: pl.DataFrame, config: TrainingConfig, section: str
) -> None:
    """Makes sure that there is something to train on and something to measure with.

    Raises:
        UserError: one of the two is empty.
    """
    for part, name, change in (
        (trained, "to train on", "lower"),
        (heldout, "held out for the figures", "raise"),
    ):
        if not len(part):
            raise UserError(
                f"no trajectory is {name}: of {len(trained) + len(heldout):,} trajectories with "
                f"labels {section}.holdout: {config.holdout:g} leaves none there",
                safe="problems, rollouts and labels are kept",
                next_step=f"{change} {section}.holdout, or take more domain.train_problems",
            )


@contextmanager
def told_what_to_lower(section: str, config: TrainingConfig) -> Iterator[None]:
    """Makes an error of the user's out of memory that has run out."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        short = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not short and "can't allocate memory" not in str(error):
            raise
        more = config.accumulation * 2
        lower = f"raise {section}.accumulation to {more} (batch_size must be a multiple of it)"
        if config.pack_tokens:
            lower += f", lower {section}.pack_tokens below {config.pack_tokens:,}"
        raise UserError(
            f"out of memory in training: {str(error).splitlines()[0] if str(error) else 'RAM'}",
            safe="problems, rollouts, labels and the checkpoints before are kept",
            next_step=f"{lower}, lower {section}.batch_size below {config.batch_size:,} or set "
            f"{section}.gradient_checkpointing=true; then run the same command again",
        ) from error
