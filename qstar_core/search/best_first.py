"""Best-first search on Q alone: A* without g.

The frontier is ordered by f = lambda * h, so the legality of a path, or whatever R_P measures,
plays no part; everything else is `qstar_core.search.astar`. It tells what g adds.
"""

from __future__ import annotations

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem
from qstar_core.search.astar import astar
from qstar_core.search.budget import Ledger
from qstar_core.search.trace import Search


def best_first(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
    """Searches one problem; the configured reward is left out."""
    return astar(problem, config.model_copy(update={"reward": "none"}), ledger)
