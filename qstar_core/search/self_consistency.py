"""Self-consistency: whole rollouts vote for their answers (Wang et al., arXiv 2203.11171).

``majority``: each rollout has one vote. ``q``: its vote weighs Q of its last action (a weighted
sum, as in Li et al., arXiv 2206.02336). The answer with the largest weight wins; its f is its
share of all weight, and the first rollout that gave it is returned.

1. An answer is what the domain's grader reads off a trajectory, without looking at the reference.
2. The process reward takes no part (a model of it is not asked): voting is the baseline that needs
   no rule.
3. Rollouts without an answer do not vote. Rounds and their end are those of best-of-N.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from qstar_core.config import SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem, State
from qstar_core.search.best_of_n import round_size
from qstar_core.search.budget import Ledger
from qstar_core.search.requests import Asking, rollout, score
from qstar_core.search.trace import Node, Search, Tree


def self_consistency(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
    """Draws at most ``config.n`` rollouts of one problem and counts their votes."""
    tree = Tree(problem, config)
    votes: list[tuple[Node, float]] = []
    drawn = 0
    while drawn < config.n and not ledger.over:
        size = min(config.n - drawn, round_size(drawn, ledger))
        rollouts = yield from rollout(tree.root.state, size)
        drawn += size
        nodes = []
        for steps in rollouts:
            tree.clock += sum(step.tokens for step in steps)
            nodes.append(tree.add_path(steps))
        votes += yield from weigh(nodes, tree)
    finished = count(votes, tree)
    return tree.result(finished, ledger, done=drawn >= config.n)


def weigh(nodes: Sequence[Node], tree: Tree) -> Asking[list[tuple[Node, float]]]:
    """The vote of each rollout; those without Q because the value calls ran out have none."""
    if tree.config.vote == "majority":
        return [(node, 1.0) for node in nodes]
    new = list({node.id: node for node in nodes if node.q is None}.values())
    values = yield from score(
        [(State(tree.problem, n.state.steps[:-1]), n.state.steps[-1:]) for n in new]
    )
    for node, answer in zip(new, values, strict=True):
        node.q = answer[0] if answer else None
    return [(node, node.q) for node in nodes if node.q is not None]


def count(votes: Sequence[tuple[Node, float]], tree: Tree) -> list[Node]:
    """The first trajectory of every answer, with f = the answer's share of the weight."""
    answer_of = DOMAINS[tree.problem.domain].answer
    weights: dict[str, float] = defaultdict(float)
    first: dict[str, Node] = {}
    for node, weight in votes:
        answer = answer_of(tree.problem, [step.text for step in node.state.steps])
        if answer:
            weights[answer] += weight
            first.setdefault(answer, node)
    total = sum(weights.values())
    for order, (answer, node) in enumerate(first.items()):
        node.order = order
        node.h = weights[answer] / total if total else 0.0
        node.f = node.h
    return list(first.values())
