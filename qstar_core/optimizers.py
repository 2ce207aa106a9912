"""What all training here shares: Muon for the hidden matrices, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from qstar_core.precision import multiplies_bf16

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
    matrices = [p for n, p in named if n in hidden]
    kind = torch.optim.Muon if multiplies_bf16(matrices[0].device.type) else MuonInFloat32
    muon = kind(
        matrices,
        lr=learning_rate,
        momentum=0.95,
        weight_decay=weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, adamw]


class MuonInFloat32(torch.optim.Muon):
    """`torch.optim.Muon` in the precision of the weights, for hardware that emulates bfloat16.

    PyTorch's own orthogonalises in bfloat16, whatever the weights are. Where such products are
    emulated that takes several times as long as all the rest of an update. The state is the same.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; there is no closure."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                state = self.state[weights]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weights)
                momentum = state["momentum_buffer"].lerp_(weights.grad, 1 - group["momentum"])
                direction = weights.grad.lerp(momentum, group["momentum"])  # Nesterov's
                factors, steps, eps = (group[n] for n in ("ns_coefficients", "ns_steps", "eps"))
                direction = orthogonal(direction, factors, steps, eps)
                rate = 0.2 * group["lr"] * max(weights.shape) ** 0.5  # match_rms_adamw
                weights.mul_(1 - group["lr"] * group["weight_decay"])
                weights.add_(direction, alpha=-rate)


def orthogonal(
    matrix: torch.Tensor, factors: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """The orthogonal matrix near a matrix, roughly: its singular values end between 0.5 and 1.5.

    Newton-Schulz iteration of degree five, as in Muon (Jordan 2024).

    Args:
        matrix: of any shape (rows, columns).
        factors: a, b and c of X <- a X + (b X X' + c (X X')^2) X.
        steps: iterations.
        eps: least norm that is divided by.
    """
    a, b, c = factors
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


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
