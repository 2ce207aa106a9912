"""What is refused before a training, and what helps when memory runs out in it."""

from __future__ import annotations

import polars as pl

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
            next_step="remove their data set and run qstar label CONFIG; own labels have to be "
            "scaled to [0, 1]",
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


def needing_less(section: str, config: TrainingConfig) -> list[str]:
    """What lets a training do with less memory, what makes no other model first."""
    found = []
    if not config.gradient_checkpointing:
        found.append(
            f"set {section}.gradient_checkpointing=true (equal weights, slower; it goes on from "
            "the last checkpoint)"
        )
    if config.accumulation < config.batch_size:
        found.append(f"raise {section}.accumulation to {_more_parts(config)}")
    if config.pack_tokens:
        found.append(f"lower {section}.pack_tokens below {config.pack_tokens:,}")
    if config.batch_size > 1:
        found.append(f"lower {section}.batch_size below {config.batch_size:,}")
    return found


def _more_parts(config: TrainingConfig) -> int:
    """The next number of parts that divides the batch."""
    more = range(config.accumulation + 1, config.batch_size + 1)
    return next(parts for parts in more if config.batch_size % parts == 0)
