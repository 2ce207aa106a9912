"""R_P of paths that are in the tree already, where a model says it (``reward: prm``)."""

from __future__ import annotations

from collections.abc import Sequence

from qstar_core.mdp import State
from qstar_core.search.requests import Asking, score
from qstar_core.search.trace import Node, Tree


def rewarded(nodes: Sequence[Node], tree: Tree) -> Asking[list[Node]]:
    """Asks for every R_P that is missing on the way to some nodes, and sets it and g.

    Other rewards need no model: then nothing is asked.

    Returns:
        The nodes on whose way none is missing now; others when the value calls ran out.
    """
    if tree.config.reward != "prm":
        return list(nodes)
    paths = [tree.path(node) for node in nodes]
    new = list({n.id: n for path in paths for n in path if n.reward is None}.values())
    answers = yield from score(
        [(State(tree.problem, n.state.steps[:-1]), n.state.steps[-1:]) for n in new], "prm"
    )
    for node, answer in zip(new, answers, strict=True):  # a node comes after its ancestors
        if answer:
            tree.set_reward(node, answer[0])
    ways = zip(nodes, paths, strict=True)
    return [node for node, path in ways if all(n.reward is not None for n in path)]
