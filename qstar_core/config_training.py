"""The fields of every training of a model that values steps, for sections that train one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qstar_core.config_section import Float, Section


class TrainingConfig(Section):
    """Training of a model that gives each step a value, from a causal LM: the QVM, the PRM."""

    loss: Literal["bce", "mse"] = "bce"
    holdout: Float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the training problems kept out, for the held-out figures."""
    negative_share: Float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the trajectories without any positive label that are trained on, chosen by hash;
    each of them then counts 1 / negative_share. Saves time where the policy seldom succeeds."""
    epochs: Float = Field(default=3.0, gt=0.0)
    batch_size: int = Field(default=128, ge=1)
    """Trajectories per update."""
    learning_rate: Float = Field(default=1e-3, gt=0.0)
    weight_decay: Float = Field(default=0.01, ge=0.0)
    warmup_steps: int = Field(default=20, ge=1)
    bf16: bool = True
    calibration: Literal["none", "temperature", "platt"] = "temperature"
    """Fitted on half of the held-out problems and stored in the head: ``temperature`` divides the
    logit by T, ``platt`` shifts it too; see docs/value-models.md."""
