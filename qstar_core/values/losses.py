"""The losses that a value model is trained with, and what a step counts in them.

A loss here is a *sum* over items, and what it is divided by is counted apart (`denominator`), so
that a batch may be computed in parts, or by several processes, and still have one mean:

    mse      sum of w (sigmoid(z) - y)^2 over steps             Q* paper, eq. 7
    bce      sum of w (-y ln s - (1 - y) ln(1 - s)), s = sigmoid(z), over steps
    ranking  sum of w_i w_j (-ln sigmoid(z_i - z_j)) over pairs with y_i > y_j

z is the logit at the last token of a step, y in [0, 1] its label, w > 0 its weight. bce has the
same minimum as mse, s = y, and steeper gradients near 0 and 1.

1. The ranking loss is that of rStar-Math's process preference model (arXiv 2501.04519, section
   3.3, after Bradley and Terry). There two right and two wrong steps of each state are picked by
   their Q-values; here all pairs of steps at the same index of the same problem count whose labels
   differ, siblings among them, as far as they are in the same part of a batch.
2. It fixes only differences of logits: sigmoid(z) is no probability until it is calibrated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, mse_loss

Batch = dict[str, torch.Tensor]


def loss_sum(kind: str, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The weighted sum of the losses of a batch, a scalar in float32.

    Args:
        kind: ``"mse"``, ``"bce"`` or ``"ranking"``.
        logits: of the steps, [steps], float32.
        batch: with targets and weights [steps]; for ranking also better and worse, the two steps
            of each pair, [pairs].
    """
    targets, weights = batch["targets"], batch["weights"]
    if kind == "ranking":
        better, worse = batch["better"], batch["worse"]
        losses = -logsigmoid(logits[better] - logits[worse])
        return (losses * weights[better] * weights[worse]).sum()
    if kind == "mse":
        losses = mse_loss(torch.sigmoid(logits), targets, reduction="none")
    else:
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (losses * weights).sum()


def denominator(kind: str, batch: Batch) -> torch.Tensor:
    """What the sum is divided by for a mean: the weights of all steps, or of all pairs."""
    weights = batch["weights"]
    if kind == "ranking":
        return (weights[batch["better"]] * weights[batch["worse"]]).sum()
    return weights.sum()


def mean_loss(kind: str, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The weighted mean of a batch; 0 for one without any pair."""
    tiny = torch.finfo(torch.float32).tiny
    return loss_sum(kind, logits, batch) / denominator(kind, batch).clamp_min(tiny)


def pairs(groups: Sequence[Hashable], targets: Sequence[float]) -> tuple[list[int], list[int]]:
    """All pairs of steps of one group whose labels differ.

    Args:
        groups: of each step: what it is compared within, such as (problem, step index).
        targets: label of each step.

    Returns:
        The places of the better and of the worse step of each pair.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        members[group].append(place)
    found = [
        (i, j)
        for together in members.values()
        for i in together
        for j in together
        if targets[i] > targets[j]
    ]
    return [i for i, _ in found], [j for _, j in found]


def interval_weight(low: float, high: float) -> float:
    """The weight of a label by the width of its interval: 1 / (high - low)^2.

    The width of a 95 % interval is in proportion to the standard error of the label, so this is
    the weight by inverse variance, with which a weighted mean of independent measurements has the
    least variance (Aitken 1935). Wilson intervals are never of width 0. It is meant for labels that
    are means of independent samples (``mean_of_rollouts``, ``soft``, ``stronger_policy``). The last
    step of a trajectory, whose label is a grade, counts as the surest of the other steps.

    Args:
        low: lower bound.
        high: upper bound, above it.
    """
    return 1.0 / (high - low) ** 2
