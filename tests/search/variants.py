"""Every algorithm with its settings, for the tests that hold for all of them."""

from __future__ import annotations

from typing import Any

VARIANTS: list[dict[str, Any]] = [
    {"algorithm": "greedy", "temperature": 0.0},
    {"algorithm": "self_consistency"},
    {"algorithm": "self_consistency", "vote": "q"},
    *({"algorithm": "best_of_n", "step_values": v} for v in ("last", "min", "product", "mean")),
    {"algorithm": "beam", "width": 2},
    {"algorithm": "dvts", "width": 2},
    {"algorithm": "mcts"},
    {"algorithm": "mcts", "exploration_rule": "uct"},
    {"algorithm": "best_first"},
    {"algorithm": "astar"},
    {"algorithm": "astar", "heuristic": "lookahead"},
    {"algorithm": "astar", "merge": "state"},
    {"algorithm": "astar", "reopen": True},
    {"algorithm": "astar", "reopen": True, "heuristic": "lookahead"},
    {"algorithm": "astar", "reopen": True, "merge": "state"},
]


def name(variant: dict[str, Any]) -> str:
    """How a test calls it."""
    return "-".join(map(str, variant.values()))
