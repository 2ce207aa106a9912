"""The fields of every training of a value model, for sections that train one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from qstar_core.config_section import Float, Section, runtime_only


def check_parts(batch_size: int, accumulation: int, processes: int) -> None:
    """Refuses a batch that does not come apart into equal parts.

    Raises:
        ValueError: says so.
    """
    if batch_size % (accumulation * processes):
        raise ValueError(
            f"batch_size {batch_size} must be a multiple of accumulation {accumulation} x "
            f"processes {processes}"
        )


def several_alone(rows: dict[str, Any]) -> dict[str, Any]:
    """The rows of a section without the number of its processes where that is 1."""
    return {name: rows[name] for name in rows if (name, rows[name]) != ("processes", 1)}


INTERVAL_VERSION = 2
"""Of the weights by the labels' intervals, raised when they change."""
LORA_VERSION = 2
"""Of what an adapter is put on."""
BEST_VERSION = 2
"""Of how the held-out loss that chooses the best weights is computed."""


class TrainingConfig(Section):
    """How a value model is trained; `qstar_core.values.train` is what does it."""

    loss: Literal["bce", "mse", "ranking"] = "bce"
    """mse is the paper's; ranking orders actions and leaves the size of the values open. See
    `qstar_core.values.losses`."""
    weighting: Literal["none", "interval"] = "none"
    """interval: a step counts by the inverse square of the width of its label's interval."""
    seed: int | None = Field(default=None, ge=0)
    """Of the new head, the order of the batches and the held-out split; None is that of the run."""
    holdout: Float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the training problems kept out, for the held-out figures."""
    negative_share: Float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the trajectories without any positive label that are trained on, chosen by hash;
    each of them then counts 1 / negative_share. Saves time where the policy seldom succeeds."""
    epochs: Float = Field(default=3.0, gt=0.0)
    batch_size: int = Field(default=128, ge=1)
    """Trajectories per update."""
    accumulation: int = Field(default=1, ge=1)
    """Parts of a batch that are computed one after the other: more of them need less memory."""
    processes: int = Field(default=1, ge=1)
    """Processes on one machine that each compute a part of a batch at the same time, each on a GPU
    of its own if there are GPUs. More than one is in the key: sums are taken in another order."""
    pack_tokens: int = Field(default=0, ge=0)
    """Tokens of a row that holds several trajectories, which do not see each other; 0 gives each
    trajectory a row of its own, padded to the longest."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the hidden matrices, AdamW for the rest; adamw: AdamW for all."""
    learning_rate: Float = Field(default=1e-3, gt=0.0)
    weight_decay: Float = Field(default=0.01, ge=0.0)
    warmup_steps: int = Field(default=20, ge=1)
    lora_rank: int = Field(default=0, ge=0)
    """Rank of a LoRA adapter (peft) on all linear layers but the head, merged
    at the end; 0 trains all weights."""
    lora_alpha: int = Field(default=16, ge=1)
    """The adapter's output is multiplied by lora_alpha / lora_rank."""
    bf16: bool = True
    """Matrix products in bfloat16, the weights that are trained in float32. Where the hardware
    would emulate such products they are in float32; the figures of the training say which."""
    calibration: Literal["none", "temperature", "platt"] = "temperature"
    """Fitted on half of the held-out problems and stored in the head: ``temperature`` divides the
    logit by T, ``platt`` shifts it too; see docs/value-models.md."""
    gradient_checkpointing: bool = runtime_only(False)
    """Computes activations a second time instead of keeping them: slower, less memory, equal
    weights."""
    keep_best: bool = False
    """Ends with the weights of the lowest held-out loss, not with the last ones."""
    eval_every: int = Field(default=100, ge=1)
    """keep_best: updates between two looks at the held-out loss, beside one at the end."""
    save_every: int = runtime_only(250, ge=1)
    """Updates between two checkpoints that a killed training goes on from."""

    @model_validator(mode="after")
    def _fits(self) -> TrainingConfig:
        check_parts(self.batch_size, self.accumulation, self.processes)
        if self.loss == "ranking" and self.calibration == "temperature":
            raise ValueError(
                "loss: ranking leaves the size of the values open, which a temperature alone does "
                "not mend; set calibration to platt"
            )
        return self

    def rows(self) -> dict[str, Any]:
        """The fields that can change a row; one process is that of keys made before."""
        rows = several_alone(super().rows())
        if self.weighting == "interval":
            rows["interval_version"] = INTERVAL_VERSION
        if self.lora_rank:
            rows["lora_version"] = LORA_VERSION
        if self.keep_best:
            rows["best_version"] = BEST_VERSION
        return rows

    def seed_of(self, run: int) -> int:
        """The seed of the training in a run with a seed."""
        return run if self.seed is None else self.seed
