"""What tree searches share: extending states by ranked actions, and searching in passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem
from qstar_core.search.astar import Action, add_all, valued
from qstar_core.search.budget import Ledger
from qstar_core.search.requests import Asking, distinct, propose
from qstar_core.search.trace import Node, Search, Tree

Pass = Callable[[Tree, SearchConfig, Ledger, dict[int, Node]], Asking[None]]
"""One walk from the question; adds the trajectories it finishes, by the ids of their nodes."""


def extend(nodes: Sequence[Node], tree: Tree, config: SearchConfig) -> Asking[list[list[Node]]]:
    """K actions of each node, as ranked children with f = g + lambda * Q.

    An action is scored when it first comes. One that is in the tree already, or that a node
    before it has brought in this round, costs its tokens and no value call.

    Args:
        nodes: states that are not terminal; the same one may come several times.
        tree: takes the children; one that is there already is found again.
        config: of the method.

    Returns:
        The distinct children of each node in the order of their samples; fewer, or none, when the
        budget ends.
    """
    states = [node.state for node in nodes]
    sampled = [distinct(proposed) for proposed in (yield from propose(states, config.k))]
    choices: list[list[Action]] = [[] for _ in nodes]
    asked: set[tuple[int, str, bool]] = set()
    for node, proposed, new in zip(nodes, sampled, choices, strict=True):
        for step, spent in ((one.step, one.spent) for one in proposed):
            key = (node.id, step.text, step.ended)
            if key not in asked and tree.child(node, step.text, step.ended) is None:
                asked.add(key)
                new.append(Action(step, spent))
    actions = yield from valued(states, choices, config)
    for node, found in zip(nodes, actions, strict=True):
        for child in add_all(tree, node, found):
            tree.rank(child, child.q)
    families = []
    for node, proposed in zip(nodes, sampled, strict=True):
        family = [tree.child(node, one.step.text, one.step.ended) for one in proposed]
        families.append([child for child in family if child is not None])
    return families


def finish(children: Iterable[Node], finished: dict[int, Node]) -> None:
    """Adds the terminal children that are not there yet, numbered in the order they come."""
    for child in children:
        if child.terminal and child.id not in finished:
            child.order = len(finished)
            finished[child.id] = child


def in_passes(problem: Problem, config: SearchConfig, ledger: Ledger, one_pass: Pass) -> Search:
    """Passes until N are finished, the budget is over, or one finds nothing new."""
    tree = Tree(problem, config)
    finished: dict[int, Node] = {}
    known = 0
    while len(finished) < config.n and not ledger.over and len(tree.nodes) > known:
        known = len(tree.nodes)
        yield from one_pass(tree, config, ledger, finished)
    return tree.result(list(finished.values()), ledger, done=len(finished) >= config.n)
