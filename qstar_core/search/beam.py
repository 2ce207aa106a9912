"""Step beam search: the B best partial trajectories are extended together, depth by depth.

At each depth every beam proposes K actions; of all the children the B with the largest f stay. A
terminal child among them is finished and leaves the beam, its place with it: from there on the
pass keeps one less (Snell et al., arXiv 2408.03314, section 5, with N = B * K and a value model in
place of their PRM; what becomes of the place is our reading).

1. The same f ranks beams and finished trajectories as in A*: f = g + lambda * Q(last action).
   Among equal f the child that was generated first stays.
2. A terminal child that is not among the B best takes no place, and counts as finished all the
   same: it was paid for. Trajectories are numbered in the order in which they
   were generated, whichever place they take.
3. When a pass has ended, fewer than N are finished and the budget is not over, another pass starts
   from the question. Its samples are new ones, nodes that are there already are met again.
4. A pass that finds nothing new ends the search.
"""

from __future__ import annotations

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem
from qstar_core.search.budget import Ledger
from qstar_core.search.children import extend, finish, in_passes
from qstar_core.search.requests import Asking
from qstar_core.search.trace import Node, Search, Tree


def beam(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
    """Searches one problem with ``config.width`` beams of ``config.k`` proposals each."""
    return (yield from in_passes(problem, config, ledger, one_pass))


def one_pass(
    tree: Tree, config: SearchConfig, ledger: Ledger, finished: dict[int, Node]
) -> Asking[None]:
    """From the question until no beam is left."""
    beams, places = [tree.root], config.width
    while beams and not ledger.over:
        families = yield from extend(beams, tree, config)
        children = {child.id: child for family in families for child in family}
        finish(children.values(), finished)
        ranked = sorted(children.values(), key=lambda node: (-(node.f or 0.0), node.id))
        best = ranked[:places]
        beams = [child for child in best if not child.terminal]
        places -= len(best) - len(beams)
