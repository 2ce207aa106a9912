"""Fine-tunes a causal LM on solutions with TRL's SFTTrainer and saves a plain checkpoint.

Loss: the mean over the tokens of the solutions of -ln p(token | all before), the prompt's tokens
masked. This is the M-step of ReST-EM (arXiv 2312.06585, algorithm 1) with a reward of 0 or 1.

1. With ``packing`` TRL puts whole solutions into rows of ``max_length`` tokens (best-fit
   decreasing) and restarts the positions at each. There is no attention mask then: flash attention
   is told the boundaries; eager attention and SDPA get a block-diagonal mask, which transformers
   makes from the positions (``masking_utils.find_packed_sequence_indices``). TRL does not check
   that a model does so. `qstar_core.training.packing` does, with the model itself, and packing is
   refused where solutions see each other. The mask has max_length^2 entries, so each pack is a
   forward pass of its own and batch_size of them make an update.
2. LoRA adapters are merged when training ends: the result is a checkpoint like its base, in the
   base's precision.
3. After ``kill -9`` training goes on from the last whole checkpoint
   (`qstar_core.training.checkpoints`) and ends in equal weights, on a CPU bit for bit.
4. Where solutions are held out, the checkpoint with the lowest loss on them is published.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
)
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.utils.logging import disable_progress_bar
from trl.trainer.sft_trainer import SFTTrainer

from qstar_core.config import SftConfig
from qstar_core.errors import UserError
from qstar_core.optimizers import TRAINING_ATTENTION
from qstar_core.policies.text import Vocabulary
from qstar_core.precision import training_device
from qstar_core.sft.arguments import adapter, arguments, needing_less, pace, updates
from qstar_core.sft.sequences import Sequences, check_fits
from qstar_core.training import checkpoints
from qstar_core.training.guards import deterministic, told_when_full
from qstar_core.training.memory import peak_memory_mib
from qstar_core.training.packing import check_apart
from qstar_core.training.processes import count, is_first

Progress = Callable[[int, int, str], None]


class Trainer(checkpoints.Sealed, SFTTrainer):
    """TRL's trainer without the notice of each training that it sends to the hub."""

    def needs(self) -> list[str]:
        """The best checkpoint so far, which is published in the end."""
        best = self.state.best_model_checkpoint
        return [Path(best).name] if best else []

    _begun: tuple[float, int] | None = None  # seconds and tokens at the first log

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint without the pickled arguments, which nothing reads."""
        super()._save(output_dir, state_dict)
        folder = Path(str(self.args.output_dir if output_dir is None else output_dir))
        (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the peak memory of this process in MiB and, from the second time on, the pace."""
        logs = {**logs, "memory_mib": peak_memory_mib()}
        if rate := self.pace():
            logs["tokens_per_second"] = rate
        super().log(logs, start_time)

    def pace(self) -> float:
        """Tokens per second of all processes, padding left out, since the first log; 0 then."""
        now, seen = time.monotonic(), int(self.state.num_input_tokens_seen)
        began, before = self._begun = self._begun or (now, seen)
        return (seen - before) / max(1e-9, now - began)

    def _send_telemetry(self) -> None:
        pass

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: a checkpoint to resume from needs no card."""


class Watch(TrainerCallback):
    """Keeps the losses, reports progress and ends a training whose loss is no number."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.note = ""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Takes the figures of the last updates, or of a look at the held-out loss."""
        for name in ("loss", "eval_loss"):
            value = (logs or {}).get(name)
            if value is None:
                continue
            if not math.isfinite(value):
                raise UserError(
                    f"sft: the {name} is {value} at update {state.global_step:,}",
                    safe="problems, rollouts and the checkpoints before are kept",
                    next_step=f"--set sft.learning_rate={args.learning_rate / 10:g} is gentler",
                )
            self.note = f"{'held-out loss' if name == 'eval_loss' else 'loss'} {value:.4f}"
            if rate := logs.get("tokens_per_second"):
                self.note += f", {rate:,.0f} tokens/s"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells the update."""
        self.progress(state.global_step, state.max_steps, self.note)


def train(
    folder: Path,
    vocabulary: Vocabulary,
    data: Sequences,
    heldout: Sequences,
    out: Path,
    resume: Path,
    config: SftConfig,
    seed: int,
    progress: Progress,
    followers: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """Fine-tunes a causal LM and saves it as a Hugging Face folder.

    Args:
        folder: of the causal LM it starts from.
        vocabulary: its tokenizer, as the policy uses it.
        data: to train on.
        heldout: for the loss by which the checkpoint is chosen; may be empty.
        out: folder to save to.
        resume: folder of the checkpoints to resume from; kept.
        config: epochs, learning rate, LoRA and so on.
        seed: of the order of the solutions and of the adapters.
        progress: called with (updates done, updates in all, a note).
        followers: callbacks of trackers; they change no weight.

    Returns:
        Figures: loss (mean of the last updates, nats per token), heldout_loss and published_update
        (of the published checkpoint), history (update, loss, heldout_loss), updates, tokens,
        tokens_per_second, memory_mib (the peak), seconds, and those of `checkpoints.figures`; none
        of a process that is not the first of several.

    Raises:
        UserError: what does not fit the model, a loss that is no number, or too little memory.
    """
    start = time.monotonic()
    with deterministic(), told_when_full("sft", needing_less(config)):
        model, at_rest = load(folder)
        check_fits(data, model.get_input_embeddings().num_embeddings, config.max_length)  # type: ignore[arg-type]
        if config.packing:
            check_apart(model, data.ids, "sft.packing", "false")
        callbacks = [Watch(progress), *followers]
        trainer = build(model, vocabulary, data, heldout, resume, config, seed, callbacks)
        with trainer.args.main_process_first():  # which removes what is broken
            newest, _, remarks = checkpoints.newest(resume)
        for remark in remarks:
            progress(0, updates(rows_of(trainer), config), remark)
        trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        if not is_first():
            return {}
        found = trainer.accelerator.unwrap_model(trainer.model)
        plain = found.merge_and_unload() if isinstance(found, PeftModel) else found
        plain.to(at_rest).save_pretrained(out)
    Vocabulary(folder, vocabulary.chat).tokenizer.save_pretrained(out)
    figures = {**_figures(trainer, data), **checkpoints.figures(newest, remarks)}
    return {**figures, "seconds": round(time.monotonic() - start, 3)}


def load(folder: Path) -> tuple[PreTrainedModel, torch.dtype]:
    """The causal LM in float32 where it is trained, and the precision that it was saved in."""
    device = training_device()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", use_safetensors=True, trust_remote_code=False
    )
    at_rest = model.dtype
    model.to(torch.float32)  # type: ignore[arg-type]
    model.set_attn_implementation(TRAINING_ATTENTION[device])
    model.to(device)  # type: ignore[arg-type]
    return model, at_rest


def build(
    model: PreTrainedModel,
    vocabulary: Vocabulary,
    data: Sequences,
    heldout: Sequences,
    resume: Path,
    config: SftConfig,
    seed: int,
    callbacks: list[TrainerCallback],
) -> Trainer:
    """The trainer of a model; its arguments are those of `train`."""
    disable_progress_bars()
    disable_progress_bar()
    args = arguments(bool(len(heldout)), resume, config, seed)
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=dataset(data),
        eval_dataset=dataset(heldout) if len(heldout) else None,
        processing_class=vocabulary.tokenizer,
        peft_config=None if config.lora is None else adapter(config.lora),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    pace(args, updates(rows_of(trainer), config), config)
    return trainer


def rows_of(trainer: Trainer) -> int:
    """Solutions, or packs of them, of an epoch."""
    data = trainer.train_dataset
    assert isinstance(data, Dataset)
    return len(data)


def dataset(sequences: Sequences) -> Dataset:
    """Sequences as TRL takes them."""
    return Dataset.from_dict({"input_ids": sequences.ids, "completion_mask": sequences.masks})


def _figures(trainer: Trainer, data: Sequences) -> dict[str, Any]:
    state, log = trainer.state, trainer.state.log_history
    losses = {entry["step"]: entry["loss"] for entry in log if "loss" in entry}
    looks = {entry["step"]: entry["eval_loss"] for entry in log if "eval_loss" in entry}
    last = state.global_step
    best = state.best_global_step if trainer.args.load_best_model_at_end else None
    update = best or last  # no update 0: a checkpoint is written after updates only
    tail = list(losses.values())[-max(1, len(losses) // 10) :]
    history = [
        {"update": n, "loss": losses.get(n), "heldout_loss": looks.get(n)}
        for n in sorted({*losses, *looks})
    ]
    return {
        "updates": last,
        "bf16": bool(trainer.args.bf16),
        **({"processes": count()} if count() > 1 else {}),
        "published_update": update,
        "loss": sum(tail) / len(tail) if tail else None,
        "heldout_loss_before": looks.get(0),
        "heldout_loss": looks.get(update),
        "tokens": data.trained_tokens,
        "rows": rows_of(trainer),
        "tokens_per_second": round(trainer.pace(), 1),
        "memory_mib": round(peak_memory_mib()),
        "history": history,
    }
