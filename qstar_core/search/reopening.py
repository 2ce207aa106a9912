"""When a state that was expanded is worth expanding again: A* with Good-Turing re-expansion.

K samples may miss every good action of a state, and what was not sampled cannot be chosen, however
large the budget. An expanded state therefore goes back to the frontier, on behalf of the children
that have not been seen, with::

    f_again(s) = g(s) + lambda * h_again(s),   h_again(s) = 1/n * sum of Q(s, a) over a seen once

n samples of the state were drawn so far. Were one of them the last, its action would have been
unseen before it exactly if it came up once: so h_again is the estimate of the Q that the next
sample brings, counted as 0 if its action is known already. It is u times the mean Q of the actions
that came up once, where u, their share of the samples, is the estimate of Good (1953) and Turing
of the probability that the next action is unseen. This is ours, not of arXiv 2406.14283.

1. The question has no R_P; the largest g of its children stands for g, as the best that has been
   seen of a first step.
2. Samples that were cut off in the middle of a step are no actions and do not count.
3. It rates one sample, though K are drawn. The probability that any of K is good is larger, but so
   is the gain of a state that was never expanded, and ranking by it left too little for those.
"""

from __future__ import annotations

from collections import Counter

from qstar_core.search.trace import Node, Tree

Counts = Counter[tuple[str, bool]]
"""How often each action, by text and ending, was sampled in one state."""


def unseen(counts: Counts) -> float:
    """u, the Good-Turing estimate that one more sample is an unseen action, in [0, 1].

    It is 0 without any sample: nothing speaks for a state in which no whole action came.
    """
    total = counts.total()
    return sum(count == 1 for count in counts.values()) / total if total else 0.0


def f_again(node: Node, counts: Counts, tree: Tree) -> float | None:
    """f of an expanded node on behalf of its unseen children; None when it does not return.

    Args:
        node: not terminal; its children so far are in the tree, with their Q.
        counts: of its samples so far.
        tree: it has the configuration and the children.

    Returns:
        g + lambda * h_again; None without ``reopen``, with lambda = 0 (no Q is known), and where
        no action came up once.
    """
    config = tree.config
    if not config.reopen or config.lam == 0 or unseen(counts) == 0:
        return None
    children = [tree.child(node, text, ended) for text, ended in counts]
    there = [child for child in children if child is not None]
    g = node.g if node is not tree.root else max((child.g for child in there), default=0.0)
    once = [c.q or 0.0 for c in there if counts[c.text, c.state.steps[-1].ended] == 1]
    return g + config.lam * sum(once) / counts.total()
