"""Which of the nodes of one canonical state A* follows (``merge: state``).

What follows a state depends on its canonical form alone, so of several nodes with the same one only
those are followed that were reached with a larger g than the followed ones before them. The others
wait: a node that is followed may turn out a dead end, because all its samples were cut off or its
longer path has used up the tokens of a trajectory. Then those are followed that were left out for
it.
"""

from __future__ import annotations

from collections import defaultdict

from qstar_core.domains import DOMAINS
from qstar_core.search.trace import Node


class Merging:
    """The nodes of one search by their canonical states.

    Args:
        merge: of the method; with ``text`` every node is followed.
    """

    def __init__(self, merge: str) -> None:
        self._by_state = merge == "state"
        self._followed: defaultdict[str, list[Node]] = defaultdict(list)
        self._waiting: defaultdict[str, list[Node]] = defaultdict(list)

    def follows(self, node: Node) -> bool:
        """Whether a new node is followed: no followed one of its state has as large a g."""
        state = self._canonical(node)
        if state is None:
            return True
        before = self._followed[state]
        if any(other.g >= node.g for other in before):
            self._waiting[state].append(node)
            return False
        before.append(node)
        return True

    def instead(self, node: Node) -> list[Node]:
        """The nodes that are followed now that a followed one is a dead end: at most one."""
        state = self._canonical(node)
        if state is None or node not in self._followed[state]:
            return []
        self._followed[state].remove(node)
        waiting = sorted(self._waiting.pop(state, []), key=lambda other: (-other.g, other.id))
        return [other for other in waiting if self.follows(other)]

    def _canonical(self, node: Node) -> str | None:
        """The canonical state; None where nodes are not merged: terminal ones never are."""
        problem = node.state.problem
        canonical = getattr(DOMAINS[problem.domain], "canonical", None)
        if not self._by_state or node.terminal or canonical is None:
            return None
        found: str | None = canonical(problem, [step.text for step in node.state.steps])
        return found
