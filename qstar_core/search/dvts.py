"""Diverse verifier tree search: independent subtrees, each extended greedily by its best child.

From Beeching et al., "Scaling test-time compute with open models" (Hugging Face, 2024): beam
search tends to end in copies of one beam, so the B beams are kept apart. Each takes the best of
its own K proposals, whatever the others have; where that is terminal, the subtree has ended.

1. The subtrees of one pass start in the question with samples of their own, as many as their K.
   Where several stand in one state, each prefers a step that none before it has taken there.
2. A terminal proposal that is not the best of its subtree counts as finished all the same: it was
   paid for.
3. Ranking, numbering, further passes and their end are those of `qstar_core.search.beam`.
"""

from __future__ import annotations

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem
from qstar_core.search.budget import Ledger
from qstar_core.search.children import extend, finish, in_passes
from qstar_core.search.requests import Asking
from qstar_core.search.trace import Node, Search, Tree


def dvts(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
    """Searches one problem with ``config.width`` subtrees of ``config.k`` proposals each."""
    return (yield from in_passes(problem, config, ledger, one_pass))


def one_pass(
    tree: Tree, config: SearchConfig, ledger: Ledger, finished: dict[int, Node]
) -> Asking[None]:
    """From the question until no subtree is left."""
    tips = [tree.root] * config.width
    while tips and not ledger.over:
        families = yield from extend(tips, tree, config)
        taken: set[int] = set()
        tips = []
        for family in families:
            if not family:
                continue
            tip = min(family, key=lambda node: (node.id in taken, -(node.f or 0.0), node.id))
            taken.add(tip.id)
            finish(family, finished)
            if not tip.terminal:
                tips.append(tip)
