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

from qstar_core.keys import content_id


@dataclass(frozen=True)
class Sequences:
    """Tokenised trajectories.

    Attributes:
        ids: token ids per trajectory.
        ends: position of the last token of each step, per trajectory.
        targets: y of each step, in [0, 1].
        weights: how much each trajectory counts, see `thin`.
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
    bucket = int(content_id("holdout", problem_id, seed)[:12], 16) / 16**12
    return bucket < share


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


def thin(frame: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Leaves out some of the trajectories that say nothing but 0 (case-control sampling).

    Where the policy seldom succeeds, most labels are 0 and one of them more teaches little. Those
    that stay count the more, so the loss has the same expectation as with all of them.

    Args:
        frame: rows of `trajectories`.
        share: of the trajectories without a positive y that stays, in (0, 1].
        seed: of the choice.

    Returns:
        The rows that stay, in their order, with a column weight: 1, or 1 / share.
    """
    chance = pl.Series(np.random.default_rng(seed).random(len(frame)))
    barren = pl.col("y").list.max() <= 0
    marked = frame.with_columns(weight=pl.when(barren).then(1 / share).otherwise(1.0))
    return marked.filter(~barren | (chance < share))


def encode(frame: pl.DataFrame, prompts: dict[str, str], tokenizer: Any) -> Sequences:
    """Tokenises trajectories step by step.

    Args:
        frame: rows of `trajectories` or `thin`.
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
