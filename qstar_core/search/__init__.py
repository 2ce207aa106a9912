"""Searching for the best trajectory: one file per algorithm, all written as generators.

``qstar_core.search.driver.run`` advances many of them together.
"""

from __future__ import annotations

from collections.abc import Callable

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem
from qstar_core.search import (
    astar,
    beam,
    best_first,
    best_of_n,
    dvts,
    greedy,
    mcts,
    self_consistency,
)
from qstar_core.search.budget import Budget, Ledger
from qstar_core.search.requests import Answer, Drawn, Propose, Proposed, Request, Rollout, Score
from qstar_core.search.trace import Node, Search, SearchResult, Tree

__all__ = [
    "ALGORITHMS",
    "Answer",
    "Budget",
    "Drawn",
    "Ledger",
    "Node",
    "Propose",
    "Proposed",
    "Request",
    "Rollout",
    "Score",
    "Search",
    "SearchResult",
    "Tree",
]

ALGORITHMS: dict[str, Callable[[Problem, SearchConfig, Ledger], Search]] = {
    "greedy": greedy.greedy,
    "self_consistency": self_consistency.self_consistency,
    "best_of_n": best_of_n.best_of_n,
    "beam": beam.beam,
    "dvts": dvts.dvts,
    "mcts": mcts.mcts,
    "best_first": best_first.best_first,
    "astar": astar.astar,
}
