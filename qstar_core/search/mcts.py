"""Monte Carlo tree search over reasoning steps, with a Q-value model in place of rollouts.

Each iteration walks from the question to a state that has not been expanded, by the largest
U(s, a) = W(a) / n(a) + bonus, samples K actions there, and adds the value of the best of them to
all actions on the way. With N(s) = the sum of n(a) over the actions of s, the bonus is

* ``puct`` (Silver et al., 2017; step-level as in AlphaMath, arXiv 2405.03553):
  c * P(a) * sqrt(N(s)) / (1 + n(a)), P = softmax of the actions' log-probabilities per token;
* ``uct`` (Kocsis and Szepesvari, 2006): c * sqrt(ln(N(s) + 1) / n(a)).

1. An action starts with n = 1 and W = f of its own, so no action is without a value, and N(s)
   counts those first ones; f = g + lambda * Q as in A*. The value of a new state is the largest f
   of its actions, or its own f where no action could be sampled.
2. A terminal action is finished when it is first walked to; its f is added again as its value,
   and it is closed: later walks pass it by, since nothing can be learnt there any more. So is a
   state whose actions are all closed.
3. The search ends with N terminal actions walked to, when everything is closed, or with the
   budget. Whichever it is, every terminal action that was sampled has been paid for and counts as
   finished, those walked to first; so a larger budget never returns a smaller f. The largest f is
   returned, as in A*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem
from qstar_core.search.budget import Ledger
from qstar_core.search.children import extend
from qstar_core.search.trace import Node, Search, Tree


@dataclass(slots=True)
class Branch:
    """A node with the statistics of the action that led to it."""

    node: Node
    visits: int = 1
    total: float = 0.0
    prior: float = 1.0
    closed: bool = False
    expanded: bool = False
    branches: list[Branch] = field(default_factory=list)


def mcts(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
    """Searches one problem."""
    tree = Tree(problem, config)
    root = Branch(tree.root)
    finished: list[Node] = []
    pops = 0
    while len(finished) < config.n and not root.closed and not ledger.over:
        path = walk(root, config)
        tip = path[-1]
        tip.node.order, pops = pops, pops + 1
        value = tip.node.f or 0.0
        if tip.node.terminal:
            finished.append(tip.node)
            tip.closed = True
        else:
            [children] = yield from extend([tip.node], tree, config)
            grow(tip, children)
            value = max((child.f or 0.0 for child in children), default=value)
        back_up(path, value)
    there = {node.id for node in finished}
    late = [n for n in tree.nodes if n.terminal and n.id not in there and n.f is not None]
    return tree.result(finished + late, ledger, done=len(finished) >= config.n)


def walk(root: Branch, config: SearchConfig) -> list[Branch]:
    """From the question to an open branch that is not expanded; ties go to the older node."""
    path = [root]
    while path[-1].expanded:
        parent = path[-1]
        visits = sum(branch.visits for branch in parent.branches)
        options = [branch for branch in parent.branches if not branch.closed]
        path.append(max(options, key=lambda b: (upper(b, visits, config), -b.node.id)))
    return path


def upper(branch: Branch, visits: int, config: SearchConfig) -> float:
    """U(s, a): mean value and bonus."""
    mean = branch.total / branch.visits
    if config.exploration_rule == "uct":
        return mean + config.exploration * math.sqrt(math.log(visits + 1) / branch.visits)
    bonus = branch.prior * math.sqrt(visits) / (1 + branch.visits)
    return mean + config.exploration * bonus


def grow(tip: Branch, children: list[Node]) -> None:
    """Expands a branch; one without children is a dead end and closed."""
    tip.expanded = True
    tip.closed = not children
    if not children:
        return
    scores = [c.state.steps[-1].logprob / max(1, c.state.steps[-1].tokens) for c in children]
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    tip.branches = [
        Branch(child, total=child.f or 0.0, prior=weight / sum(weights))
        for child, weight in zip(children, weights, strict=True)
    ]


def back_up(path: list[Branch], value: float) -> None:
    """Adds the value to every action on the way, and closes what has nothing open below."""
    for branch in reversed(path):
        branch.visits += 1
        branch.total += value
        if branch.expanded and all(below.closed for below in branch.branches):
            branch.closed = True
