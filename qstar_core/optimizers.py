"""What all training here shares: Muon for the hidden matrices, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

TRAINING_ATTENTION = {"cpu": "eager", "cuda": "sdpa"}
"""Attention by device: on a CPU the fused kernel's backward pass takes half of all training."""

MAX_GRADIENT_NORM = 1.0
BETAS = (0.9, 0.95)  # of AdamW


def build_optimizers(
    model: torch.nn.Module, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices; AdamW for embeddings, norms and the head.

    The factors of a LoRA adapter are no hidden matrices: AdamW updates them. Where no hidden
    matrix is trained there is no Muon.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    hidden = {n for n, p in named if p.ndim == 2 and ".layers." in n and ".lora_" not in n}
    others = [p for n, p in named if n not in hidden]
    adamw = torch.optim.AdamW(others, lr=learning_rate, betas=BETAS, weight_decay=0.0)
    if not hidden:
        return [adamw]
    muon = torch.optim.Muon(
        [p for n, p in named if n in hidden],
        lr=learning_rate,
        momentum=0.95,
        weight_decay=weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, adamw]


def build_adamw(
    model: torch.nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW for everything; only matrices of the hidden layers decay."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    decays = {n for n, p in named if p.ndim == 2 and ".layers." in n}
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in named if n in decays], "weight_decay": weight_decay},
        {"params": [p for n, p in named if n not in decays], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, betas=BETAS)


class Together(torch.optim.Optimizer):
    """Several optimizers as one, for a trainer that knows one.

    Args:
        parts: each with parameters of its own. Their parameter groups are shared, not copied, so a
            schedule that sets a learning rate here sets it there.
    """

    def __init__(self, parts: Iterable[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)
        groups = [group for part in self.parts for group in part.param_groups]
        super().__init__([{"params": group["params"]} for group in groups], {})
        self.param_groups = groups

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update by each part; there is no closure."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave.

        Raises:
            ValueError: it is of other parts.
        """
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def update(
    model: torch.nn.Module,
    optimizers: list[torch.optim.Optimizer],
    loss: torch.Tensor,
    learning_rate: float,
) -> float:
    """One update of all parameters, gradients clipped to `MAX_GRADIENT_NORM`; returns the loss."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())
