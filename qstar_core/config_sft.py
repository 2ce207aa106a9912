"""The fields of the policy's own training: supervised fine-tuning on its correct rollouts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from qstar_core.config_section import Float, Section, runtime_only
from qstar_core.config_training import check_parts, several_alone


class LoraConfig(Section):
    """Low-rank adapters on all linear layers but the output head; merged when training ends."""

    rank: int = Field(default=16, ge=1)
    alpha: Float = Field(default=32.0, gt=0.0)
    """The adapter's product is scaled by alpha / rank."""
    dropout: Float = Field(default=0.0, ge=0.0, lt=1.0)


class SftConfig(Section):
    """Supervised fine-tuning of the policy on its correct rollouts (rejection sampling)."""

    base: str | None = None
    """Folder, ``s3://`` URI or hub name of the causal LM that is trained; None is the policy."""
    start: Literal["base", "previous"] = "base"
    """In a later round of expert iteration: train from the policy of the first round, or go on
    from that of the round before."""
    per_problem: int = Field(default=4, ge=1)
    """Solutions per problem at most, chosen by hash, so that easy problems do not drown others."""
    distinct: Literal["text", "form"] = "text"
    """When two solutions of a problem are one: the same text, or the same canonical form where the
    domain knows one (countdown: the order of independent lines does not matter)."""
    min_problems: int = runtime_only(20, ge=1)
    """Training is refused when fewer problems have a solution to train on. No part of the key: it
    decides whether there is a policy, not which."""
    holdout: Float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the training problems kept out, for the loss by which the checkpoint is chosen; 0
    keeps none and takes the last one."""
    epochs: Float = Field(default=3.0, gt=0.0)
    batch_size: int = Field(default=32, ge=1)
    """Solutions per update; with packing, packs."""
    accumulation: int = Field(default=1, ge=1)
    """Parts that a batch is worked on in, one after the other: more of them need less memory. With
    packing each pack is a part."""
    processes: int = Field(default=1, ge=1)
    """As in ``qvm``."""
    learning_rate: Float = Field(default=2e-5, gt=0.0)
    """Highest, after the warm-up; it falls to 0 by a cosine."""
    weight_decay: Float = Field(default=0.0, ge=0.0)
    warmup: Float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the updates over which the learning rate rises."""
    max_length: int = Field(default=1024, ge=8)
    """Tokens of prompt and solution together, and of a pack; longer ones are left out."""
    packing: bool = False
    """Several solutions in one row of ``max_length`` tokens, which do not see each other."""
    lora: LoraConfig | None = None
    """None trains all weights."""
    bf16: bool = True
    """As in ``qvm``."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: slower, less memory."""
    eval_every: int | None = Field(default=None, ge=1)
    """Updates between two looks at the held-out loss, each of which leaves a checkpoint to resume
    from; None is a tenth of the training."""
    keep_best: bool = True
    """Publish the checkpoint with the lowest held-out loss, not the last one."""

    def rows(self) -> dict[str, Any]:
        """The fields that can change a row; the base counts by its identity."""
        found = several_alone(super().rows())
        return {name: found[name] for name in found if name not in ("base", "start")}

    @model_validator(mode="after")
    def _divides(self) -> SftConfig:
        check_parts(self.batch_size, self.accumulation, self.processes)
        if self.packing and self.accumulation != 1:
            raise ValueError("with packing each pack is a part already: leave accumulation out")
        return self
