"""`transformers.Trainer` with the loss, the optimizer and the batches of a value model.

Resuming, accumulation of gradients, distribution over processes, logging and the schedule of
evaluation and checkpoints are Trainer's. Ours are:

1. The batches. The data set is the list of trajectories in training order, so a batch is a
   function of its number alone and a resumed training skips those that were done.
2. The mean loss of an update, over all its parts and processes; see `losses`.
3. Muon with AdamW; both learning rates warm up and decay linearly to zero.
4. bf16 by autocast around the model, weights and optimizer in float32; see
   `qstar_core.precision`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from qstar_core.config_training import TrainingConfig
from qstar_core.errors import UserError
from qstar_core.optimizers import MAX_GRADIENT_NORM, Together, build_adamw, build_optimizers
from qstar_core.precision import computes_in_bf16
from qstar_core.training import checkpoints
from qstar_core.training.memory import peak_memory_mib
from qstar_core.training.processes import count
from qstar_core.values.batches import collate
from qstar_core.values.data import Order, Sequences
from qstar_core.values.losses import Batch, denominator, loss_sum
from qstar_core.values.model import step_logits

CHECKPOINTS_KEPT = 2


class Places(Dataset[int]):
    """Places of trajectories, in the order in which they are trained on."""

    def __init__(self, order: Order) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> int:
        return int(self.order[index])


class ValueTrainer(checkpoints.Sealed):
    """Trains a value model.

    Args:
        model: token classification with one label, or that with a LoRA adapter.
        data: the training trajectories.
        heldout: those for the held-out loss; asked only with ``keep_best``.
        order: places of trajectories, those of an update next to each other.
        config: of the training.
        args: from `arguments`.
        callbacks: besides those of ``args.report_to``.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: torch.nn.Module,
        data: Sequences,
        heldout: Sequences,
        order: Order,
        config: TrainingConfig,
        args: TrainingArguments,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.config, self.heldout = config, heldout
        self.trained, self.folder = model, Path(str(args.output_dir))
        self.losses: list[float] = []  # of the updates so far
        self.best: dict[str, float] | None = None
        self.bf16 = computes_in_bf16(config.bf16)
        self.tokens = self.places = 0  # of all processes since the start; with padding
        self._began = time.monotonic()
        super().__init__(
            model=model,
            args=args,
            train_dataset=Places(order),
            eval_dataset=Places(order[:0]),
            data_collator=partial(collate, data, pack_tokens=config.pack_tokens, kind=config.loss),
            callbacks=list(callbacks),
        )
        self.remove_callback(PrinterCallback)
        self._parameters = sum(p.numel() for p in model.parameters())

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Muon and AdamW, or AdamW alone."""
        if self.optimizer is None:
            settings = self.config.learning_rate, self.config.weight_decay
            trained = self.trained if model is None else model
            if self.config.optimizer == "adamw":
                self.optimizer = build_adamw(trained, *settings)
            else:
                self.optimizer = Together(build_optimizers(trained, *settings))
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LambdaLR:
        """Warm-up, and a linear decay to 0 from the first update on."""
        warmup = self.config.warmup_steps

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / warmup) * (1 - step / num_training_steps)

        if self.lr_scheduler is None:
            chosen: Any = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _get_num_items_in_batch(
        self, batch_samples: list[Batch], device: torch.device
    ) -> torch.Tensor:
        """What the loss of an update is divided by, over its parts and all processes.

        Counts the tokens of the update too.
        """
        own = torch.stack([batch["denominator"] for batch in batch_samples]).sum().to(device)
        sizes = [(int(batch["tokens"]), batch["input_ids"].numel()) for batch in batch_samples]
        tokens = torch.tensor(sizes, device=device).sum(dim=0)
        if self.args.world_size > 1:
            own = self.accelerator.gather(own).sum()
            tokens = self.accelerator.reduce(tokens, "sum")
        self.tokens, self.places = self.tokens + int(tokens[0]), self.places + int(tokens[1])
        return own.clamp_min(torch.finfo(torch.float32).tiny)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """This part's share of the mean loss of an update.

        Times the number of processes: their gradients are averaged, not summed.
        """
        with torch.autocast(self.args.device.type, torch.bfloat16, self.bf16):
            logits = step_logits(model, inputs)
        loss = loss_sum(self.config.loss, logits, inputs)
        if num_items_in_batch is not None:
            loss = loss / num_items_in_batch
        return loss * float(self.args.world_size)

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Forward and backward of a part of an update; refuses a loss that is no number."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        shared = self.accelerator.reduce(loss, "mean") if self.args.world_size > 1 else loss
        self._check(value := float(shared), "loss")
        if len(self.losses) <= self.state.global_step:
            self.losses.append(0.0)
        self.losses[-1] += value
        return loss

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        self._check(float(norm), "gradient")
        return norm

    def _check(self, value: float, what: str) -> None:
        if math.isfinite(value):
            return
        rate = self.config.learning_rate
        raise UserError(
            f"the {what} of update {self.state.global_step + 1:,} of {self.state.max_steps:,} is "
            f"{value}: training has diverged at a learning rate of {rate:g}",
            safe="problems, rollouts, labels and the checkpoints before are kept",
            next_step=f"lower the learning rate: --set qvm.learning_rate={rate / 4:g}, or raise "
            "qvm.warmup_steps",
        )

    def floating_point_ops(self, inputs: Batch) -> int:
        """6 per parameter and token, padding included; the attention is left out."""
        return 6 * self._parameters * inputs["input_ids"].numel()

    @torch.inference_mode()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The held-out loss; the weights are kept where it is the lowest so far."""
        self.trained.eval()
        total = count = 0.0
        size = self.args.per_device_train_batch_size  # what memory suffices for
        for start in range(0, len(self.heldout), size):
            places = range(start, min(start + size, len(self.heldout)))
            batch = collate(self.heldout, places, self.config.pack_tokens, self.config.loss)
            batch = {name: tensor.to(self.args.device) for name, tensor in batch.items()}
            with torch.autocast(self.args.device.type, torch.bfloat16, self.bf16):
                logits = step_logits(self.trained, batch)
            total += float(loss_sum(self.config.loss, logits, batch))
            count += float(denominator(self.config.loss, batch))
        loss = total / count if count else 0.0  # 0: nothing to be compared
        if self.args.world_size > 1:  # all processes find the same weights best
            loss = float(self.accelerator.reduce(torch.tensor(loss).to(self.args.device), "mean"))
        found = {"eval_loss": loss}
        if self.best is None or found["eval_loss"] <= self.best["loss"]:
            self.best = {"loss": found["eval_loss"], "update": self.state.global_step}
            if self.args.should_save:
                checkpoints.save_weights(self.trained, self.folder / self.best_name())
                checkpoints.sweep(self.folder, self.needs())
        self.log(found)
        return found

    def take_best(self) -> None:
        """Goes back to the weights of the lowest held-out loss."""
        self.accelerator.wait_for_everyone()  # the first process has written them
        checkpoints.load_weights(self.trained, self.folder / self.best_name())

    def best_name(self) -> str:
        """The file of the best weights so far."""
        assert self.best is not None
        return checkpoints.BEST.format(int(self.best["update"]))

    def resume(self, notes: dict[str, Any]) -> None:
        """Takes back the notes of the checkpoint that training goes on from."""
        self.losses, self.best = list(notes["losses"]), notes["best"]

    def notes(self) -> dict[str, Any]:
        """The losses so far, and the best held-out loss."""
        return {"losses": self.losses, "best": self.best}

    def needs(self) -> list[str]:
        """The best weights so far."""
        return [self.best_name()] if self.best else []

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The trained weights of a checkpoint, and nothing that has to be unpickled."""
        folder = self.folder if output_dir is None else Path(output_dir)
        checkpoints.save_weights(self.trained, folder / checkpoints.WEIGHTS)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        file = Path(resume_from_checkpoint) / checkpoints.WEIGHTS
        checkpoints.load_weights(self.trained if model is None else model, file)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds tokens per second and the peak memory of this process in MiB."""
        pace = {"tokens_per_second": self.pace(), "memory_mib": peak_memory_mib()}
        super().log({**logs, **pace}, start_time)

    def pace(self) -> float:
        """Tokens per second, padding left out, since the beginning."""
        return self.tokens / max(1e-9, time.monotonic() - self._began)


def arguments(
    folder: Path, config: TrainingConfig, updates: int, size: int, seed: int, save: bool
) -> TrainingArguments:
    """Trainer's settings.

    Args:
        folder: of the checkpoints.
        config: of the training.
        updates: how many.
        size: trajectories of an update. They are cut into equal parts, for accumulation and for
            the processes that train together; where that does not come out even it is raised.
        seed: of what is random inside of the model, such as dropout.
        save: whether to write checkpoints.
    """
    parts = config.accumulation * count()
    args = TrainingArguments(
        output_dir=str(folder),
        use_cpu=not torch.cuda.is_available(),
        max_steps=updates,
        per_device_train_batch_size=-(-size // parts),
        gradient_accumulation_steps=config.accumulation,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        max_grad_norm=MAX_GRADIENT_NORM,
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        seed=seed % 2**32,
        save_strategy="steps" if save else "no",
        save_steps=config.save_every,
        save_total_limit=CHECKPOINTS_KEPT,
        eval_strategy="steps" if config.keep_best else "no",
        eval_steps=config.eval_every,
        logging_steps=10,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    with suppress(AttributeError):
        args._n_gpu = min(1, args.n_gpu)  # a batch is not to be split among GPUs by rows
    return args
