"""Calibration of a trained value model, stored in its checkpoint.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599) divides the logit z by T > 0:

    Q = sigmoid(z / T)

Platt scaling (Platt 1999) adds a shift: Q = sigmoid(z / T + b). Both are fitted by the binary
cross-entropy of soft targets y, -mean(y log Q + (1 - y) log(1 - Q)), which is convex in (1/T, b).
Neither changes which of two actions has the larger Q.

1. Guo et al. fit T on a validation set that nothing else uses. Ours is half of the held-out
   problems, by hash; the published figures come from the other half, before and after.
2. The head is linear, so weight and bias are divided by T (and b is added to the bias): a plain
   `transformers` or vLLM gives calibrated values without any code of ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit

from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.values.metrics import Array

Method = Literal["none", "temperature", "platt"]

MIN_PROBLEMS = 10
"""In each half; with fewer nothing is fitted."""
MOST = 20.0
"""Bounds of the temperature: 1 / MOST to MOST."""
MOST_SHIFT = 10.0  # in logits
EDGE = 1e-15  # keeps the logit of a prediction of exactly 0 or 1 finite
HEADS = ("score", "classifier")
"""Names that transformers gives the head of a token classifier."""


@dataclass(frozen=True)
class Calibration:
    """A change of the logit z to slope * z + shift.

    Attributes:
        method: what it was fitted as.
        slope: 1 / T, positive.
        shift: b, in logits.
        skipped: why nothing was fitted although it was asked for, else empty.
    """

    method: Method = "none"
    slope: float = 1.0
    shift: float = 0.0
    skipped: str = ""

    @property
    def changes(self) -> bool:
        """Whether it changes any value."""
        return (self.slope, self.shift) != (1.0, 0.0)

    def apply(self, q: Array) -> Array:
        """Calibrated values of predictions in [0, 1]."""
        if not self.changes:
            return np.asarray(q)
        found: Array = expit(self.slope * logits(q) + self.shift)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Method, temperature, shift, and why nothing was fitted (empty where it was)."""
        return {
            "method": self.method,
            "temperature": round(1 / self.slope, 6),
            "shift": round(self.shift, 6),
            "skipped": self.skipped,
        }


def logits(q: Array) -> Array:
    """The logits of predictions in [0, 1], finite."""
    found: Array = logit(np.clip(np.asarray(q, dtype=float), EDGE, 1 - EDGE))
    return found


def cross_entropy(z: Array, y: Array) -> float:
    """Mean binary cross-entropy of logits against soft targets in [0, 1], in nats."""
    return float(np.mean(np.logaddexp(0.0, z) - y * z)) if len(z) else math.nan


def fits(problem_id: str, seed: int) -> bool:
    """Whether a held-out problem is in the half that the calibration is fitted on, by hash."""
    return int(content_id("calibration", problem_id, seed)[:12], 16) % 2 == 0


def fit(q: Array, y: Array, method: Method) -> Calibration:
    """The calibration with the least cross-entropy.

    Args:
        q: [n], predictions in [0, 1].
        y: [n], soft targets in [0, 1].
        method: what is fitted.

    Returns:
        Slope in [1 / MOST, MOST], shift within MOST_SHIFT of 0. Targets that are all alike fit
        nothing: the best values would be at a bound.
    """
    if method == "none":
        return Calibration()
    if not len(q) or float(np.ptp(y)) == 0:
        return Calibration(method, skipped="all labels of the half that it is fitted on are equal")
    z, targets = logits(q), np.asarray(y, dtype=float)
    bound = math.log(MOST)
    if method == "temperature":
        found = minimize_scalar(
            lambda t: cross_entropy(math.exp(-t) * z, targets),
            bounds=(-bound, bound),
            method="bounded",
            options={"xatol": 1e-6},
        )
        return Calibration(method, slope=math.exp(-float(found.x)))

    def loss(v: Array) -> tuple[float, Array]:
        moved = v[0] * z + v[1]
        error = expit(moved) - targets
        return cross_entropy(moved, targets), np.array([np.mean(error * z), np.mean(error)])

    limits = [(1 / MOST, MOST), (-MOST_SHIFT, MOST_SHIFT)]
    best = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=limits, method="L-BFGS-B")
    return Calibration(method, slope=float(best.x[0]), shift=float(best.x[1]))


def scale_head(folder: Path, calibration: Calibration) -> None:
    """Stores a calibration in a saved checkpoint: its head is scaled, nothing else touched.

    Only the file with the head is written anew; the head keeps its precision.

    Args:
        folder: of a token-classification checkpoint in safetensors.
        calibration: to be stored.

    Raises:
        UserError: it has no head that is known, or none with a bias where a shift is to be stored.
    """
    if not calibration.changes:
        return
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            names, metadata = set(opened.keys()), opened.metadata()
        heads = [name for name in HEADS if f"{name}.weight" in names]
        if not heads:
            continue
        tensors = load_file(file)
        weight, bias = f"{heads[0]}.weight", f"{heads[0]}.bias"
        if bias not in tensors and calibration.shift:
            raise _not_stored(folder, "its head has no bias, which Platt scaling needs")
        tensors[weight] = scaled(tensors[weight], calibration.slope)
        if bias in tensors:
            tensors[bias] = scaled(tensors[bias], calibration.slope, calibration.shift)
        written = file.with_suffix(".part")
        save_file(tensors, written, metadata=metadata)
        written.replace(file)
        return
    raise _not_stored(folder, f"no file holds a head ({' or '.join(HEADS)})")


def scaled(tensor: Any, slope: float, shift: float = 0.0) -> Any:
    """A tensor times slope plus shift, computed in float64, in its own precision."""
    return (tensor.double() * slope + shift).to(tensor.dtype).contiguous()


def _not_stored(folder: Path, what: str) -> UserError:
    return UserError(
        f"the calibration cannot be stored in {folder}: {what}",
        safe="problems, rollouts and labels are kept",
        next_step="--set qvm.calibration=none trains without it",
    )
