"""Whether a model that values steps has learnt anything: its held-out ranking beside guessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CHANCE = 0.05
"""How far above 0.5 an AUC may be and still count as guessing."""


def at_chance(heldout: Sequence[Mapping[str, Any]], model: str = "Q-value model") -> str:
    """Which steps a model ranks no better than chance, in a sentence; empty for none.

    Args:
        heldout: of `qstar_core.values.metrics.by_step`; the AUC against the exact Q* counts where
            it is known, else that against the labels.
        model: what it is called.
    """
    found = []
    for row in heldout:
        auc = row["auc_label"] if row["auc_truth"] is None else row["auc_truth"]
        if auc is not None and auc <= 0.5 + CHANCE:
            found.append(f"{row['step']} ({auc:.2f})")
    if not found:
        return ""
    return f"The {model} ranks steps no better than chance: held-out AUC {', '.join(found)}."
