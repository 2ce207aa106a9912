"""Labelled rollouts as training sequences: token ids and one soft target per step.

The label of a step stands at the step's last token (its newline, or the end-of-text token), as
in `transformers`' token classification; one forward pass over a trajectory therefore trains all
of its steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from qstar_core.errors import UserError
from qstar_core.keys import content_id


@dataclass(frozen=True)
class Sequences:
    """Tokenised trajectories.

    Attributes:
        ids: token ids per trajectory.
        ends: position of the last token of each step, per trajectory.
        targets: y of each step, in [0, 1].
        weights: how much each trajectory counts, see `subsample_negatives`.
        frame: one row per trajectory: problem_id, rollout_id, actions (list), y (list).
    """

    ids: list[list[int]]
    ends: list[list[int]]
    targets: list[list[float]]
    weights: list[float]
    frame: pl.DataFrame

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Batch:
    """A right-padded batch; a causal model needs no mask for padding on the right."""

    ids: torch.Tensor
    """[trajectories, longest]."""
    rows: torch.Tensor
    """Trajectory of each step, [steps]."""
    ends: torch.Tensor
    """Position of each step's last token, [steps]."""
    targets: torch.Tensor
    """[steps], float32."""
    weights: torch.Tensor
    """How much each step counts in the loss, [steps], float32."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        tensors = (self.ids, self.rows, self.ends, self.targets, self.weights)
        return Batch(*(t.to(device) for t in tensors))


def held_out(problem_id: str, share: float, seed: int) -> bool:
    """Whether a training problem is kept out of the QVM's training, by hash."""
    return _bucket("holdout", problem_id, seed) < share


def _bucket(*parts: Any) -> float:
    """A number in [0, 1) that depends on nothing but the parts."""
    return int(content_id(*parts)[:12], 16) / 16**12


def trajectories(labels: pl.DataFrame) -> pl.DataFrame:
    """Label rows gathered into one row per distinct trajectory, in the order of the labels."""
    gathered = labels.group_by("rollout_id", maintain_order=True).agg(
        pl.col("problem_id").first(),
        pl.col("action").alias("actions"),
        pl.col("ended").last(),
        pl.col("y"),
        pl.col("action_id").last().alias("end_id"),
    )
    return gathered.unique("end_id", keep="first", maintain_order=True)


def subsample_negatives(frame: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Leaves out some of the trajectories that say nothing but 0 (case-control sampling).

    Where the policy seldom succeeds, most labels are 0 and one of them more teaches little. Those
    that stay weigh 1 / share, so the expected sum of weighted losses is that of all trajectories.
    The loss of a batch is that sum over its own sum of weights, so its expectation is the same
    only approximately: a ratio of sums, the closer the larger the batch.

    Args:
        frame: rows of `trajectories`.
        share: of the trajectories without a positive y that stays, in (0, 1].
        seed: of the choice, which is by hash of it and of end_id: whether a trajectory stays does
            not depend on the others.

    Returns:
        The rows that stay, in their order, with a column weight: 1, or 1 / share.

    Raises:
        UserError: none stays.
    """
    negative = frame["y"].list.max() <= 0
    stays = [
        share >= 1 or not zero or _bucket("negative", end_id, seed) < share
        for end_id, zero in zip(frame["end_id"], negative, strict=True)
    ]
    if not any(stays):
        raise UserError(
            f"no trajectory is left to train the Q-value model on: {len(frame):,} have labels, "
            f"none of them a positive one, and qvm.negative_share: {share:g} keeps none of these",
            safe="problems, rollouts and labels are kept",
            next_step="--set qvm.negative_share=1 trains on all labels; more rollouts.samples or "
            "easier problems bring positive ones",
        )
    weights = pl.select(pl.when(negative).then(1 / share).otherwise(1.0)).to_series()
    return frame.with_columns(weight=weights).filter(pl.Series(stays, dtype=pl.Boolean))


def encode(frame: pl.DataFrame, prompts: dict[str, str], tokenizer: Any) -> Sequences:
    """Tokenises trajectories step by step.

    Args:
        frame: rows of `trajectories` or `subsample_negatives`.
        prompts: prompt text by problem id.
        tokenizer: of the policy.
    """
    pieces: dict[tuple[str, bool], list[int]] = {}

    def piece(text: str, first: bool) -> list[int]:
        if (text, first) not in pieces:
            pieces[text, first] = tokenizer(text, add_special_tokens=first)["input_ids"]
        return pieces[text, first]

    all_ids, all_ends = [], []
    columns = frame.select("problem_id", "actions", "ended").iter_rows()
    for problem_id, actions, ended in columns:
        ids, ends = list(piece(prompts[problem_id], True)), []
        for action in actions:
            ids += piece(action, False)
            ends.append(len(ids) - 1)
        if ended:
            ids.append(tokenizer.eos_token_id)
            ends[-1] = len(ids) - 1
        all_ids.append(ids)
        all_ends.append(ends)
    weights = frame["weight"].to_list() if "weight" in frame.columns else [1.0] * len(frame)
    return Sequences(all_ids, all_ends, frame["y"].to_list(), weights, frame)


def collate(data: Sequences, rows: Sequence[int] | npt.NDArray[np.int64]) -> Batch:
    """The batch of some trajectories."""
    longest = max(len(data.ids[r]) for r in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    owner, ends, targets, weights = [], [], [], []
    for k, r in enumerate(rows):
        ids[k, : len(data.ids[r])] = torch.tensor(data.ids[r])
        owner += [k] * len(data.ends[r])
        ends += data.ends[r]
        targets += data.targets[r]
        weights += [data.weights[r]] * len(data.ends[r])
    places = torch.tensor(owner), torch.tensor(ends)
    return Batch(ids, *places, torch.tensor(targets), torch.tensor(weights))


def batches(data: Sequences, batch_size: int, epochs: float, seed: int) -> Iterator[Batch]:
    """Shuffled batches, a new order every epoch; the last epoch may be a part of one.

    Every batch is full except where the data are fewer than one batch.
    """
    rng = np.random.default_rng(seed)
    size = min(batch_size, len(data))
    order = np.empty(0, dtype=np.int64)
    for _ in range(count_batches(len(data), batch_size, epochs)):
        if len(order) < size:
            order = np.concatenate([order, rng.permutation(len(data))])
        yield collate(data, order[:size])
        order = order[size:]


def count_batches(trajectories: int, batch_size: int, epochs: float) -> int:
    """Updates that some epochs take."""
    return max(1, round(epochs * trajectories / min(batch_size, trajectories)))
