"""Figures of a rollouts data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qstar_core.errors import UserError


def combined(receipts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a rollouts data set from those of its shards.

    Returns:
        "tokens" and "seconds" (of all workers together), "quarantined" problems, "drift" where
        it was measured, and the "outcomes" of imported rollouts.
    """
    figures = [receipt["figures"] for receipt in receipts]
    return {
        "tokens": sum(f["tokens"] for f in figures),
        "seconds": round(sum(f["seconds"] for f in figures), 3),
        "quarantined": [q for f in figures for q in f.get("quarantined", [])],
        **total_drift(figures),
        **total_outcomes(figures),
    }


def check_quarantined(problems: Sequence[Mapping[str, str]], of: int, max_share: float) -> None:
    """Refuses a data set that lacks too many problems; one may be missing always, but not all.

    Raises:
        UserError: with the last error.
    """
    if not problems or (len(problems) < of and len(problems) <= max(1, int(max_share * of))):
        return
    raise UserError(
        f"{len(problems):,} of {of:,} problems cannot be sampled; the last: "
        f"{problems[-1]['error']}",
        safe="the shards are on disk; those that lack problems will be tried again",
        next_step="mend the cause, or raise rollouts.max_quarantined, then run the same command "
        "again",
    )


def total_drift(figures: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """The sum of what `qstar_core.rollouts.drift.measure` found in shards; empty for none."""
    found = [f["drift"] for f in figures if "drift" in f]
    if not found:
        return {}
    return {"drift": {name: sum(d[name] for d in found) for name in ("replayed", "differ")}}


def total_outcomes(figures: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many imported rollouts have each outcome; empty where none were imported."""
    total: Counter[str] = Counter()
    for found in figures:
        total.update(found.get("outcomes", {}))
    return {"outcomes": dict(sorted(total.items()))} if total else {}


def drift_in_words(figures: Mapping[str, Any]) -> str:
    """One line for a person; empty where no drift was measured."""
    drift = figures.get("drift")
    if not drift or not drift["replayed"]:
        return ""
    return (
        f"{drift['differ']:,} of {drift['replayed']:,} samples differed when they were drawn again "
        "in another batch"
    )
