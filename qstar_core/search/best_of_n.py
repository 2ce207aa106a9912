"""Best-of-N: whole rollouts from the question, the one with the largest f is returned.

A rollout is ranked by the same f as a terminal state of A*: f = Agg(R_P of its steps) + lambda *
Q(its last action). Both methods therefore judge what they finished by one rule and differ only in
how they spend their tokens. With ``step_values`` other than ``last`` all its steps are scored, and
h is the smallest, the product or the mean of their Q (Lightman et al., arXiv 2305.20050, appendix
E, for process rewards).

1. Rollouts are drawn in rounds, until N are drawn or the budget is over.
2. Equal trajectories are scored once; each draw costs its tokens.
3. Rollouts without Q because the value calls ran out are left out; with lambda = 0 none is asked.
   With ``reward: prm`` the R_P of all steps is asked for too, and its calls are value calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem, State
from qstar_core.search.budget import Ledger
from qstar_core.search.requests import Asking, score
from qstar_core.search.rewarded import rewarded
from qstar_core.search.rounds import Ends, draw_rounds
from qstar_core.search.trace import Node, Search, Tree

STEP_VALUES: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda q: q[-1],
    "min": min,
    "product": math.prod,
    "mean": fmean,
}


def best_of_n(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
    """Draws at most ``config.n`` rollouts of one problem."""
    tree = Tree(problem, config)
    finished: dict[int, Node] = {}

    def take(ends: Ends) -> Asking[bool]:
        new = {node.id: node for _, node in ends if node.id not in finished}
        for node in (yield from judge(list(new.values()), tree)):
            node.order = len(finished)
            finished[node.id] = node
        return all(key in finished for key in new)

    enough = yield from draw_rounds(tree, ledger, take)
    return tree.result(list(finished.values()), ledger, done=enough and bool(finished))


def judge(nodes: Sequence[Node], tree: Tree) -> Asking[list[Node]]:
    """Ranks terminal nodes by f; returns those that could be ranked."""
    nodes = yield from rewarded(nodes, tree)
    if tree.config.lam == 0:
        for node in nodes:
            tree.rank(node, None)
        return list(nodes)
    paths = [tree.path(node) for node in nodes]
    if tree.config.step_values == "last":
        paths = [path[-1:] for path in paths]
    new = list({n.id: n for path in paths for n in path if n.q is None}.values())
    values = yield from score(
        [(State(tree.problem, n.state.steps[:-1]), n.state.steps[-1:]) for n in new]
    )
    for node, answer in zip(new, values, strict=True):
        node.q = answer[0] if answer else None  # none when the value calls ran out
    judged = []
    for node, path in zip(nodes, paths, strict=True):
        known = [n.q for n in path if n.q is not None]
        if len(known) == len(path):
            tree.rank(node, STEP_VALUES[tree.config.step_values](known))
            judged.append(node)
    return judged
