"""Figures of a rollouts data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def combined(receipts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a rollouts data set from those of its shards.

    Returns:
        "tokens" and "seconds" (of all workers together), "quarantined" problems, and "drift"
        where it was measured.
    """
    figures = [receipt["figures"] for receipt in receipts]
    return {
        "tokens": sum(f["tokens"] for f in figures),
        "seconds": round(sum(f["seconds"] for f in figures), 3),
        "quarantined": [q for f in figures for q in f.get("quarantined", [])],
        **total_drift(figures),
    }


def total_drift(figures: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """The sum of what `qstar_core.rollouts.drift.measure` found in shards; empty for none."""
    found = [f["drift"] for f in figures if "drift" in f]
    if not found:
        return {}
    return {"drift": {name: sum(d[name] for d in found) for name in ("replayed", "differ")}}


def drift_in_words(figures: Mapping[str, Any]) -> str:
    """One line for a person; empty where no drift was measured."""
    drift = figures.get("drift")
    if not drift or not drift["replayed"]:
        return ""
    return (
        f"{drift['differ']:,} of {drift['replayed']:,} samples differed when they were drawn again "
        "in another batch"
    )
