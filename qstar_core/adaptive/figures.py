"""The figures of whole data sets of episodes and learners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from qstar_core.finishing import Receipt


def combined(kind: str, receipts: Sequence[Receipt]) -> dict[str, Any]:
    """The figures of a whole data set of one of the two kinds."""
    figures = [receipt["figures"] for receipt in receipts]
    total = {name: round(sum(f[name] for f in figures), 3) for name in ("seconds", "tokens")}
    if kind == "episodes":
        outcomes = Counter[str]()
        for each in figures:
            outcomes.update(each["outcomes"])
        reward, rows = sum(f["reward"] for f in figures), sum(r["rows"] for r in receipts)
        mean = round(reward / rows, 6) if rows else None
        return {**total, "reward": mean, "outcomes": dict(outcomes)}
    told_once = ("learner", "episodes", "unknown", "first", "last", "tokens", "seconds")
    estimates = [row for f in figures for row in f.get("estimates", [])]
    known = list({row["policy"]: row for row in estimates}.values())
    found: dict[str, Any] = {
        **total,
        "learners": [{name: each[name] for name in told_once} for each in figures],
        "estimates": known,
        "curve": [point for each in figures for point in each["curve"]],
        "chosen": {each["learner"]: each["chosen"] for each in figures},
    }
    names = ("best_fixed", "allowed")
    found |= {name: figures[0][name] for name in names if name in figures[0]}
    return {name: value for name, value in found.items() if value or name in total}
