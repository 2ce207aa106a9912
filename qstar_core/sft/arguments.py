"""The configuration of a fine-tuning in the words of TRL and PEFT."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from peft import LoraConfig as Adapter
from trl.trainer.sft_config import SFTConfig as Arguments

from qstar_core.config import LoraConfig, SftConfig
from qstar_core.optimizers import MAX_GRADIENT_NORM
from qstar_core.precision import computes_in_bf16
from qstar_core.training.processes import count

LOOKS = 10  # at the held-out loss, unless eval_every says otherwise


def updates(rows: int, config: SftConfig) -> int:
    """Updates that the epochs take over some solutions, or packs of them."""
    return max(1, math.ceil(math.ceil(rows / config.batch_size) * config.epochs))


def arguments(held_out: bool, resume: Path, config: SftConfig, seed: int) -> Arguments:
    """The configuration in TRL's words; `pace` completes it."""
    parts = config.batch_size // count() if config.packing else config.accumulation
    each = config.batch_size // (parts * count())
    found = Arguments(
        output_dir=str(resume),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=each,
        per_device_eval_batch_size=each,
        gradient_accumulation_steps=parts,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        lr_scheduler_type="cosine",
        max_grad_norm=MAX_GRADIENT_NORM,
        max_length=config.max_length,
        packing=config.packing,
        completion_only_loss=True,
        bf16=computes_in_bf16(config.bf16),
        gradient_checkpointing=config.gradient_checkpointing,
        eval_strategy="steps" if held_out else "no",
        eval_steps=1,
        save_steps=1,
        eval_on_start=held_out,
        save_strategy="steps",
        save_total_limit=2,
        load_best_model_at_end=held_out and config.keep_best,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        seed=seed,
        data_seed=seed,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
    )
    found._n_gpu = min(1, found.n_gpu)  # one process, one GPU: TRL refuses nn.DataParallel
    return found


def pace(args: Arguments, total: int, config: SftConfig) -> None:
    """Sets what goes by the number of updates, which is known when the data are packed."""
    args.warmup_steps = round(config.warmup * total)
    args.eval_steps = args.save_steps = config.eval_every or max(1, total // LOOKS)
    steps = int(args.eval_steps)
    # looks and checkpoints fall on logged updates, so a resumed training logs the same means
    args.logging_steps = next(n for n in range(10, 0, -1) if steps % n == 0)


def adapter(config: LoraConfig) -> Adapter:
    """The LoRA adapter in PEFT's words."""
    return Adapter(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def needing_less(config: SftConfig) -> list[str]:
    """What lets a training do with less memory; each of it makes another policy, by its key."""
    found = []
    if not config.gradient_checkpointing:
        found.append("set sft.gradient_checkpointing=true")
    if not config.packing and config.accumulation < config.batch_size:
        found.append(f"raise sft.accumulation to {config.batch_size}, or a number that divides it")
    if config.lora is None:
        found.append("set sft.lora.rank=16")
    return [*found, f"lower sft.max_length below {config.max_length:,}"]
