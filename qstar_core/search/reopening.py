"""When a state that was expanded is worth expanding again: A* with Good-Turing re-expansion.

K samples may miss every good action of a state, and what was not sampled cannot be chosen, however
large the budget. An expanded state therefore goes back to the frontier, on behalf of the children
that have not been seen, with::

    f_again(s) = g(s) + lambda * h(s) * u(s),   u(s) = n_1 / n

n samples of the state were drawn so far and n_1 of the actions came up exactly once. u is the
Good-Turing estimate (Good, 1953) of the probability that the next sample is an action that has not
been seen: 1 when all samples differ, 0 when every action came up again. This is ours, not of
arXiv 2406.14283.

1. h is that of the node: Q of its last action (edge), or the largest Q of its first K samples
   (lookahead).
2. The question has no h: 1 stands for it, the upper bound of Q. It has no R_P either: the largest
   g of its children stands for g, as the best that has been seen of a first step.
3. Samples that were cut off in the middle of a step are no actions and do not count.
"""

from __future__ import annotations

from collections import Counter

from qstar_core.search.trace import Node, Tree

Counts = Counter[tuple[str, bool]]
"""How often each action, by text and ending, was sampled in one state."""

LARGEST_Q = 1.0


def unseen(counts: Counts) -> float:
    """u, the Good-Turing estimate that one more sample is an unseen action, in [0, 1].

    It is 0 without any sample: nothing speaks for a state in which no whole action came.
    """
    total = counts.total()
    return sum(count == 1 for count in counts.values()) / total if total else 0.0


def f_again(node: Node, counts: Counts, tree: Tree) -> float | None:
    """f of an expanded node on behalf of its unseen children; None when it does not return.

    Args:
        node: not terminal; its children so far are in the tree.
        counts: of its samples so far.
        tree: it has the configuration, and the children of the question.

    Returns:
        g + lambda * h * u; None without ``reopen``, with lambda = 0 (h is unknown), and where u
        is 0.
    """
    share = unseen(counts)
    if not tree.config.reopen or tree.config.lam == 0 or share == 0:
        return None
    g, h = node.g, node.h
    if node is tree.root:
        g = max((child.g for child in tree.nodes if child.parent == node.id), default=0.0)
    return g + tree.config.lam * (LARGEST_Q if h is None else h) * share
