"""What all training here shares: Muon for the hidden matrices, AdamW for everything else."""

from __future__ import annotations

import torch

TRAINING_ATTENTION = {"cpu": "eager", "cuda": "sdpa"}
"""Attention by device: on a CPU the fused kernel's backward pass takes half of all training."""

MAX_GRADIENT_NORM = 1.0


def build_optimizers(
    model: torch.nn.Module, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices; AdamW for embeddings, norms and the head."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    hidden = [p for n, p in named if p.ndim == 2 and ".layers." in n]
    others = [p for n, p in named if p.ndim != 2 or ".layers." not in n]
    return [
        torch.optim.Muon(
            hidden,
            lr=learning_rate,
            momentum=0.95,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


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
