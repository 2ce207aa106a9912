"""The step that all tree searches share: sample actions in some states, score them, rank them."""

from __future__ import annotations

from collections.abc import Sequence

from qstar_core.config import SearchConfig
from qstar_core.search.astar import sample_actions
from qstar_core.search.budget import Ledger
from qstar_core.search.requests import Asking
from qstar_core.search.trace import Node, Tree


def extend(
    nodes: Sequence[Node], tree: Tree, config: SearchConfig, ledger: Ledger
) -> Asking[list[list[Node]]]:
    """K actions of each node, as ranked children with f = g + lambda * Q.

    Args:
        nodes: states that are not terminal.
        tree: takes the children; one that is there already is found again.
        config: of the method.
        ledger: tells the tokens spent, the stamp of new nodes.

    Returns:
        The distinct children of each node in the order of their samples; fewer, or none, when the
        budget ends.
    """
    sampled = yield from sample_actions([node.state for node in nodes], config)
    tree.clock = ledger.policy_tokens
    families = []
    for node, actions in zip(nodes, sampled, strict=True):
        family: dict[int, Node] = {}
        for step, q in actions:
            child = tree.add(node, step, q)
            if child.f is None:
                tree.rank(child, q)
            family[child.id] = child
        families.append(list(family.values()))
    return families
