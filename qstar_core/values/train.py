"""Trains a QVM on Q-labels and measures it on held-out problems.

Losses (Q* paper, eq. 7, and others) are in `qstar_core.values.losses`, the loop is that of
`transformers.Trainer` (`qstar_core.values.trainer`).

1. Hidden matrices are updated by Muon, the rest by AdamW, unless ``optimizer: adamw`` is chosen;
   both learning rates warm up and then decay linearly to zero.
2. Distinct trajectories count once, however often the policy sampled them. Those without any
   positive label may be subsampled (`qstar_core.values.data.subsample_negatives`).
3. A share of the training problems is held out by hash and never trained on; all figures come
   from them (`qstar_core.values.measuring`), and the calibration that is stored in the head.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import PreTrainedModel, TrainerCallback

from qstar_core.config import TrainingConfig
from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem
from qstar_core.optimizers import TRAINING_ATTENTION
from qstar_core.precision import training_device
from qstar_core.training import checkpoints
from qstar_core.training.guards import deterministic, told_when_full
from qstar_core.training.memory import peak_memory_mib
from qstar_core.training.packing import check_apart
from qstar_core.training.processes import count, is_first
from qstar_core.values.batches import collate
from qstar_core.values.calibration import fits, scale_head
from qstar_core.values.checks import check_labels, check_split, needing_less
from qstar_core.values.data import (
    Sequences,
    count_batches,
    encode,
    held_out,
    subsample_negatives,
    training_order,
    trajectories,
)
from qstar_core.values.measuring import measure
from qstar_core.values.model import (
    add_lora,
    check_causal,
    check_tokens,
    initialise,
    load_tokenizer,
    step_logits,
)
from qstar_core.values.trackers import Progress, Reporter
from qstar_core.values.trainer import ValueTrainer, arguments

CAUSAL = "set qvm.init to a causal LM; for example reference:countdown-policy is one"


@dataclass(frozen=True)
class Surroundings:
    """What a training has beside its data and settings; nothing here changes the weights.

    Attributes:
        checkpoints: folder that a killed training is gone on from; None keeps no checkpoints.
        callbacks: of trackers that follow the training.
        section: of the configuration that the settings are in, for error messages.
    """

    checkpoints: Path | None = None
    callbacks: Sequence[TrainerCallback] = ()
    section: str = "qvm"


ALONE = Surroundings()


def train_qvm(
    labels: pl.DataFrame,
    problems: list[Problem],
    backbone: Path,
    out: Path,
    config: TrainingConfig,
    seed: int,
    progress: Progress,
    around: Surroundings = ALONE,
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
        around: where checkpoints go, and who follows the training.

    Returns:
        Figures (those of `fit` and of `measuring.figures_of`) and the held-out predictions, one
        row per step. Of several processes that train together only the first saves and returns
        them; the others return nothing.

    Raises:
        UserError: a label is outside of [0, 1], nothing is left to train on or to hold out, model
            and tokenizer do not fit, the model mixes packed trajectories, the loss diverges, or
            memory runs out.
    """
    check_labels(labels)
    tokenizer = load_tokenizer(backbone)
    device = torch.device(training_device())
    data, heldout = split(labels, problems, tokenizer, config, seed, around.section)
    less = needing_less(around.section, config)
    with deterministic(), told_when_full(around.section, less):
        model = initialise(backbone, seed)
        model.set_attn_implementation(TRAINING_ATTENTION[device.type])
        for part in (data, heldout):
            check_tokens(model, part, backbone)
        model.to(device)  # type: ignore[arg-type]
        check_causal(model, backbone, CAUSAL, "problems, rollouts and labels are kept")
        if config.pack_tokens:
            check_apart(model, data.ids, f"{around.section}.pack_tokens", "0", rows=2)
        judged = judges(heldout, config, seed)
        model, figures = fit(model, data, judged, config, seed, progress, around)
        if not is_first():
            return {}, pl.DataFrame()
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        predictions = predict(model, heldout, problems, config.batch_size // config.accumulation)
    found = measure(predictions, labels, problems, config.calibration, seed)
    scale_head(out, found.calibration)
    figures |= {
        "heldout_trajectories": len(heldout),
        **found.figures,
    }
    return figures, found.predictions


def split(
    labels: pl.DataFrame,
    problems: list[Problem],
    tokenizer: Any,
    config: TrainingConfig,
    seed: int,
    section: str,
) -> tuple[Sequences, Sequences]:
    """The trajectories to train on, and those that are held out.

    Raises:
        UserError: one of the two is empty.
    """
    frame = trajectories(labels)
    out_of_training = {p.id for p in problems if held_out(p.id, config.holdout, seed)}
    is_held = pl.col("problem_id").is_in(sorted(out_of_training))
    held = frame.filter(is_held)
    check_split(frame.filter(~is_held), held, config, section)
    trained = subsample_negatives(frame.filter(~is_held), config.negative_share, seed)
    prompts = {p.id: p.prompt for p in problems}
    data, heldout = (encode(f, prompts, tokenizer, config.weighting) for f in (trained, held))
    return data, heldout


def judges(heldout: Sequences, config: TrainingConfig, seed: int) -> Sequences:
    """The held-out trajectories whose loss says which weights are best.

    With a calibration they are the half that it is fitted on, so that the published figures come
    from problems that chose nothing.
    """
    problems = heldout.frame["problem_id"]
    own = [place for place, problem in enumerate(problems) if fits(problem, seed)]
    if config.calibration == "none" or not own:
        return heldout
    return Sequences(
        [heldout.ids[place] for place in own],
        [heldout.ends[place] for place in own],
        [heldout.targets[place] for place in own],
        [heldout.weights[place] for place in own],
        heldout.frame[own],
    )


def fit(
    model: PreTrainedModel,
    data: Sequences,
    heldout: Sequences,
    config: TrainingConfig,
    seed: int,
    progress: Progress,
    around: Surroundings = ALONE,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Runs all updates, from the newest checkpoint on where there is one.

    Returns:
        The model, a LoRA adapter merged into it, and the figures of the training. Among them loss
        is the mean of the last tenth of the updates.
    """
    size = min(config.batch_size, len(data))
    updates = count_batches(len(data), config.batch_size, config.epochs)
    cached = model.config.use_cache  # the trainer turns it off
    trained: torch.nn.Module = model
    if config.lora_rank:
        trained = add_lora(model, config.lora_rank, config.lora_alpha, seed)
    by = "problem" if config.loss == "ranking" else "trajectory"
    with ExitStack() as stack:
        folder = around.checkpoints
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        args = arguments(folder, config, updates, size, seed, around.checkpoints is not None)
        parts = args.gradient_accumulation_steps * args.world_size
        order = training_order(data, args.train_batch_size * parts, updates, seed, by)
        reporter = Reporter(progress)
        callbacks = [reporter, *around.callbacks]
        trainer = ValueTrainer(trained, data, heldout, order, config, args, callbacks)
        reporter.trainer = trainer
        with args.main_process_first():  # which removes what is broken
            newest, notes, remarks = checkpoints.newest(folder)
        if newest is not None:
            trainer.resume(notes)
        for remark in remarks:
            progress(0, updates, remark)
        trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        if config.keep_best:
            trainer.take_best()
    if config.lora_rank:
        model = trained.merge_and_unload()  # type: ignore[operator]
    model.config.use_cache = cached
    model.eval()
    return model, {
        **figures_of(trainer),
        "trajectories": len(data),
        "updates": updates,
        **checkpoints.figures(newest, remarks),
    }


def figures_of(trainer: ValueTrainer) -> dict[str, Any]:
    """What a training says of itself."""
    losses = trainer.losses
    tail = losses[-max(1, len(losses) // 10) :]
    padding = 1 - trainer.tokens / trainer.places if trainer.places else 0.0
    return {
        "loss": sum(tail) / len(tail),
        "tokens_per_second": round(trainer.pace(), 1),
        "padding_share": round(padding, 6),
        "memory_mib": round(peak_memory_mib()),
        "bf16": trainer.bf16,
        **({"processes": count()} if count() > 1 else {}),
        **({"best": trainer.best} if trainer.best else {}),
    }


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
        batch = {name: t.to(device) for name, t in collate(data, rows).items()}
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
