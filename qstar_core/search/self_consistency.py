"""Self-consistency: whole rollouts vote for their answers (Wang et al., arXiv 2203.11171).

``majority``: each rollout has one vote. ``q``: its vote weighs Q of its last action (a weighted
sum, as in Li et al., arXiv 2206.02336). The answer with the largest weight wins; its f is its
share of all weight, and the first rollout that gave it is returned.

1. An answer is what the domain's grader reads off a trajectory, without looking at the reference.
2. The process reward takes no part (a model of it is not asked): voting is the baseline that needs
   no rule.
3. Rollouts without an answer do not vote. Rounds and their end are those of best-of-N.
4. f is known once all votes are, so the answer of a smaller budget is that of the votes until then
   (`SearchResult.leads`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from qstar_core.config import SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem, State
from qstar_core.search.budget import Ledger
from qstar_core.search.requests import Asking, score
from qstar_core.search.rounds import Ends, draw_rounds
from qstar_core.search.trace import Node, Search, Tree


class Vote(NamedTuple):
    """What one rollout says.

    Attributes:
        spent: policy tokens that were spent when it was there.
        node: its end.
        weight: of its answer.
    """

    spent: int
    node: Node
    weight: float


def self_consistency(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
    """Draws at most ``config.n`` rollouts of one problem and counts their votes."""
    tree = Tree(problem, config)
    votes: list[Vote] = []

    def take(ends: Ends) -> Asking[bool]:
        cast = yield from weigh(ends, tree)
        votes.extend(cast)
        return len(cast) == len(ends)

    enough = yield from draw_rounds(tree, ledger, take)
    finished, leads = count(votes, tree)
    result = tree.result(finished, ledger, done=enough and bool(votes))
    return replace(result, leads=leads)


def weigh(ends: Sequence[tuple[int, Node]], tree: Tree) -> Asking[list[Vote]]:
    """The vote of each rollout; those without Q because the value calls ran out have none."""
    if tree.config.vote == "majority":
        return [Vote(spent, node, 1.0) for spent, node in ends]
    new = list({node.id: node for _, node in ends if node.q is None}.values())
    values = yield from score(
        [(State(tree.problem, n.state.steps[:-1]), n.state.steps[-1:]) for n in new]
    )
    for node, answer in zip(new, values, strict=True):
        node.q = answer[0] if answer else None
    return [Vote(spent, node, node.q) for spent, node in ends if node.q is not None]


def count(votes: Sequence[Vote], tree: Tree) -> tuple[list[Node], list[tuple[int, int]]]:
    """Counts the votes in the order in which they were cast.

    Returns:
        The first trajectory of every answer, with f = the answer's share of the weight, and the
        moments at which another of them leads: (policy tokens spent, id of its node).
    """
    answer_of = DOMAINS[tree.problem.domain].answer
    weights: dict[str, float] = defaultdict(float)
    first: dict[str, Node] = {}
    leads: list[tuple[int, int]] = []
    for vote in votes:
        answer = answer_of(tree.problem, [step.text for step in vote.node.state.steps])
        if not answer:
            continue
        weights[answer] += vote.weight
        first.setdefault(answer, vote.node)
        leader = first[max(first, key=weights.__getitem__)]  # among equals the first, as in the end
        if not leads or leads[-1][1] != leader.id:
            leads.append((vote.spent, leader.id))
    total = sum(weights.values())
    for order, (answer, node) in enumerate(first.items()):
        node.order = order
        node.h = weights[answer] / total if total else 0.0
        node.f = node.h
    return list(first.values()), leads
