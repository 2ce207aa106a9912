"""Labelled rollouts as training sequences: token ids and one soft target per step.

The label of a step stands at the step's last token (its newline, or the end-of-text token), as
in `transformers`' token classification; one forward pass over a trajectory therefore trains all
of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from qstar_core.errors import UserError
from qstar_core.keys import fraction
from qstar_core.values.losses import interval_weight

Order = npt.NDArray[np.int64]
TOKENISED_TOGETHER = 1024  # texts


@dataclass(frozen=True)
class Sequences:
    """Tokenised trajectories.

    Attributes:
        ids: token ids per trajectory.
        ends: position of the last token of each step, per trajectory.
        targets: y of each step, in [0, 1].
        weights: how much each step counts, see `subsample_negatives` and `losses.interval_weight`.
        frame: one row per trajectory: problem_id, rollout_id, actions (list), y (list).
    """

    ids: list[list[int]]
    ends: list[list[int]]
    targets: list[list[float]]
    weights: list[list[float]]
    frame: pl.DataFrame

    def __len__(self) -> int:
        return len(self.ids)


def held_out(problem_id: str, share: float, seed: int) -> bool:
    """Whether a training problem is kept out of the QVM's training, by hash."""
    return fraction("holdout", problem_id, seed) < share


def trajectories(labels: pl.DataFrame) -> pl.DataFrame:
    """Label rows gathered into one row per distinct trajectory, in the order of the labels.

    Args:
        labels: columns rollout_id, problem_id, action, ended, y, action_id; where success_low and
            success_high are among them too, the lists low and high are in the result.
    """
    bounds = {"low": "success_low", "high": "success_high"}
    known = {short: pl.col(name) for short, name in bounds.items() if name in labels.columns}
    gathered = labels.group_by("rollout_id", maintain_order=True).agg(
        pl.col("problem_id").first(),
        pl.col("action").alias("actions"),
        pl.col("ended").last(),
        pl.col("y"),
        pl.col("action_id").last().alias("end_id"),
        **known,
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
        share >= 1 or not zero or fraction("negative", end_id, seed) < share
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


def encode(
    frame: pl.DataFrame, prompts: dict[str, str], tokenizer: Any, weighting: str = "none"
) -> Sequences:
    """Tokenises trajectories, each as the one text that it is when it is scored.

    The label of a step stands at the token with its last character. Where the policy has ended the
    text the end-of-text token follows, and is the last step's.

    Args:
        frame: rows of `trajectories` or `subsample_negatives`.
        prompts: prompt text by problem id.
        tokenizer: of the backbone.
        weighting: ``"none"``, or ``"interval"`` by the columns low and high.

    Raises:
        UserError: the tokenizer does not say which characters its tokens are.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"{tokenizer.name_or_path}: its tokenizer does not say which characters a token stands "
            "for, so the last token of a step is not known",
            safe="problems, rollouts and labels are kept",
            next_step="save it with a tokenizer.json, as every tokenizer of transformers has that "
            "is not written in Python",
        )
    all_ids: list[list[int]] = []
    all_ends: list[list[int]] = []
    rows = frame.select("problem_id", "actions", "ended").rows()
    for start in range(0, len(rows), TOKENISED_TOGETHER):
        part = rows[start : start + TOKENISED_TOGETHER]
        texts = [prompts[problem] + "".join(actions) for problem, actions, _ in part]
        found = tokenizer(texts, return_offsets_mapping=True)
        for (problem, actions, ended), ids, offsets in zip(
            part, found["input_ids"], found["offset_mapping"], strict=True
        ):
            ends = _last_tokens(len(prompts[problem]), actions, offsets)
            if ended:
                ids.append(_end_of_text(tokenizer))
                ends[-1] = len(ids) - 1
            all_ids.append(ids)
            all_ends.append(ends)
    return Sequences(all_ids, all_ends, frame["y"].to_list(), _weights(frame, weighting), frame)


def _end_of_text(tokenizer: Any) -> int:
    """The token that a policy ends its text with."""
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"{tokenizer.name_or_path}: its tokenizer names no end-of-text token, and the policy "
            "has ended texts with one",
            safe="problems, rollouts and labels are kept",
            next_step="set eos_token in its tokenizer_config.json",
        )
    return int(tokenizer.eos_token_id)


def _last_tokens(start: int, actions: list[str], offsets: list[tuple[int, int]]) -> list[int]:
    """The token with the last character of each action.

    Args:
        start: characters before the first action.
        actions: texts that follow one another.
        offsets: first and last + 1 character of each token, equal for special tokens.
    """
    ends, token = [], 0
    for action in actions:
        start += len(action)
        for place in range(token, len(offsets)):
            first, after = offsets[place]
            if first < start and first < after:
                token = place
        ends.append(token)
    return ends


def _weights(frame: pl.DataFrame, weighting: str) -> list[list[float]]:
    """How much each step counts."""
    whole = frame["weight"].to_list() if "weight" in frame.columns else [1.0] * len(frame)
    if weighting == "none":
        return [[w] * len(y) for w, y in zip(whole, frame["y"], strict=True)]
    if "low" not in frame.columns:
        raise UserError(
            "weighting: interval needs the columns success_low and success_high of the labels, "
            "which these do not have",
            safe="the labels are kept",
            next_step="--set qvm.weighting=none",
        )
    bounds = zip(frame["low"].to_list(), frame["high"].to_list(), strict=True)
    by_width = [[interval_weight(*b) for b in zip(low, high, strict=True)] for low, high in bounds]
    most = max((weight for weights in by_width for weight in weights[:-1]), default=1.0)
    for weights in by_width:
        weights[-1] = most  # the last step's label is its grade, and in no doubt
    return [[w * each for each in weights] for w, weights in zip(whole, by_width, strict=True)]


def training_order(data: Sequences, size: int, updates: int, seed: int, by: str) -> Order:
    """Which trajectories each update is made of: shuffled, in a new order every epoch.

    A function of data and seed alone, so that training goes on in the middle of it.

    Args:
        data: the trajectories.
        size: trajectories of an update. Batches are full: one may hold the end of an epoch and
            the beginning of the next.
        updates: how many.
        seed: of the shuffling.
        by: ``"trajectory"``, or ``"problem"``, which keeps those of a problem next to each other
            for losses that compare them.

    Returns:
        Places of trajectories, [updates * size]; each epoch has each trajectory once.
    """
    rng = np.random.default_rng(seed)
    epochs = -(-updates * size // len(data))
    if by == "trajectory":
        shuffled = [rng.permutation(len(data)) for _ in range(epochs)]
    else:
        _, problem = np.unique(data.frame["problem_id"].to_numpy(), return_inverse=True)
        shuffled = []
        for _ in range(epochs):
            places = rng.permutation(len(data))
            rank = rng.permutation(problem.max() + 1)
            shuffled.append(places[np.argsort(rank[problem[places]], kind="stable")])
    return np.concatenate(shuffled)[: updates * size]


def count_batches(trajectories: int, batch_size: int, epochs: float) -> int:
    """Updates that some epochs take."""
    return max(1, round(epochs * trajectories / min(batch_size, trajectories)))
