"""Figures of a rollouts data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def combined(receipts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a rollouts data set from those of its shards.

    Returns:
        "tokens" and "seconds" (of all workers together), and "quarantined" problems.
    """
    figures = [receipt["figures"] for receipt in receipts]
    return {
        "tokens": sum(f["tokens"] for f in figures),
        "seconds": round(sum(f["seconds"] for f in figures), 3),
        "quarantined": [q for f in figures for q in f.get("quarantined", [])],
    }
