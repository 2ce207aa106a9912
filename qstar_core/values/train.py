"""Trains a QVM on Q-labels and measures it on held-out problems.

Loss (Q* paper, eq. 7): the mean over steps of (Q(s_t, a_t) - y)^2, or binary cross-entropy on
the soft targets y, which has the same minimum and steeper gradients near 0 and 1.

1. Hidden matrices are updated by Muon, the rest by AdamW; both learning rates warm up and then
   decay linearly to zero.
2. Distinct trajectories count once, however often the policy sampled them. Those without any
   positive label may be subsampled (`qstar_core.values.data.subsample_negatives`).
3. A share of the training problems is held out by hash and never trained on; all figures come
   from them (`qstar_core.values.measuring`), and the calibration that is stored in the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from qstar_core.config import TrainingConfig
from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem
from qstar_core.optimizers import TRAINING_ATTENTION, build_optimizers, update
from qstar_core.values.calibration import scale_head
from qstar_core.values.data import (
    Batch,
    Sequences,
    batches,
    collate,
    count_batches,
    encode,
    held_out,
    subsample_negatives,
    trajectories,
)
from qstar_core.values.measuring import measure
from qstar_core.values.model import initialise, load_tokenizer, step_logits

Progress = Callable[[int, int, str], None]


def mean_loss(kind: str, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The mean over the steps of a batch, weighted; ``kind`` is ``"bce"`` or ``"mse"``."""
    if kind == "mse":
        losses = mse_loss(torch.sigmoid(logits), batch.targets, reduction="none")
    else:
        losses = binary_cross_entropy_with_logits(logits, batch.targets, reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum()


@contextmanager
def deterministic() -> Iterator[None]:
    """Equal runs give equal weights; on the way out the process is as it was."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    # uninitialised memory that nothing reads need not be filled
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def train_qvm(
    labels: pl.DataFrame,
    problems: list[Problem],
    backbone: Path,
    out: Path,
    config: TrainingConfig,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Trains a QVM and saves it as a Hugging Face folder.

    Args:
        labels: rows of a label data set.
        problems: the training problems they belong to.
        backbone: folder of the causal LM it starts from.
        out: folder to save to.
        config: loss, epochs, learning rate, held-out share.
        seed: of head, shuffling and held-out split.
        progress: called with (updates done, updates in all, a note).

    Returns:
        Figures (loss, trajectories, updates, and those of `measuring.figures_of`) and the held-out
        predictions, one row per step.
    """
    tokenizer = load_tokenizer(backbone)
    model = initialise(backbone, seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.set_attn_implementation(TRAINING_ATTENTION[device.type])
    model.to(device)  # type: ignore[arg-type]
    frame = trajectories(labels)
    out_of_training = {p.id for p in problems if held_out(p.id, config.holdout, seed)}
    is_held = pl.col("problem_id").is_in(sorted(out_of_training))
    prompts = {p.id: p.prompt for p in problems}
    trained = subsample_negatives(frame.filter(~is_held), config.negative_share, seed)
    data = encode(trained, prompts, tokenizer)
    with deterministic():
        loss = _fit(model, data, config, seed, device, progress)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    heldout = encode(frame.filter(is_held), prompts, tokenizer)
    predictions = predict(model, heldout, problems, config.batch_size)
    found = measure(predictions, labels, problems, config.calibration, seed)
    scale_head(out, found.calibration)
    figures = {
        "loss": loss,
        "trajectories": len(data),
        "updates": count_batches(len(data), config.batch_size, config.epochs),
        "heldout_trajectories": len(heldout),
        **found.figures,
    }
    return figures, found.predictions


def _fit(
    model: torch.nn.Module,
    data: Sequences,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> float:
    """Runs all updates; returns the mean loss of the last tenth of them."""
    optimizers = build_optimizers(model, config.learning_rate, config.weight_decay)
    updates = count_batches(len(data), config.batch_size, config.epochs)
    model.train()
    losses: list[float] = []
    for step, batch in enumerate(batches(data, config.batch_size, config.epochs, seed)):
        factor = min(1.0, (step + 1) / config.warmup_steps) * (1 - step / updates)
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            logits = step_logits(model, batch)
        loss = mean_loss(config.loss, logits, batch)
        losses.append(update(model, optimizers, loss, config.learning_rate * factor))
        if (step + 1) % 10 == 0 or step + 1 == updates:
            recent = losses[-50:]
            progress(step + 1, updates, f"loss {sum(recent) / len(recent):.4f}")
    tail = losses[-max(1, len(losses) // 10) :]
    model.eval()
    return sum(tail) / len(tail)


@torch.inference_mode()
def predict(
    model: torch.nn.Module, data: Sequences, problems: list[Problem], batch_size: int
) -> pl.DataFrame:
    """Predictions of every step of some trajectories, with label and exact Q* where known.

    Returns:
        Columns problem_id, rollout_id, step_index (from 1), n_steps, q, y, q_star (null where
        the domain does not know it).
    """
    device = next(model.parameters()).device
    known = {p.id: p for p in problems}
    q: list[float] = []
    for start in range(0, len(data), batch_size):
        rows = range(start, min(start + batch_size, len(data)))
        batch = collate(data, list(rows)).to(device)
        q += torch.sigmoid(step_logits(model, batch).double()).tolist()  # float32 ends at logit 17
    truth = []
    for problem_id, actions in data.frame.select("problem_id", "actions").iter_rows():
        domain = DOMAINS[known[problem_id].domain]
        exact = getattr(domain, "q_star", None)
        truth.append(exact(known[problem_id], actions) if exact else [None] * len(actions))
    frame = data.frame.select("problem_id", "rollout_id", "y").with_columns(
        q_star=pl.Series(truth, dtype=pl.List(pl.Float64)),
        n_steps=pl.col("y").list.len().cast(pl.Int32),
    )
    frame = frame.with_columns(step_index=pl.int_ranges(1, pl.col("n_steps") + 1, dtype=pl.Int32))
    return frame.explode("y", "q_star", "step_index").with_columns(q=pl.Series(q))
