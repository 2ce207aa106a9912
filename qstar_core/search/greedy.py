"""Greedy decoding: one rollout at temperature 0, whatever the configured temperature."""

from __future__ import annotations

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem
from qstar_core.search.budget import Ledger
from qstar_core.search.requests import rollout
from qstar_core.search.rewarded import rewarded
from qstar_core.search.trace import Search, Tree


def greedy(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
    """Decodes one problem; no Q is asked for, the score of the trajectory is its g."""
    tree = Tree(problem, config)
    rollouts = yield from rollout(tree.root.state, 1, temperature=0.0)
    finished = [tree.add_drawn(drawn) for drawn in rollouts]
    yield from rewarded(finished, tree)
    for order, node in enumerate(finished):
        node.order = order
        tree.rank(node, None)
    return tree.result(finished, ledger, done=bool(finished))
