"""Monte Carlo tree search that gathers trajectories: graded rollouts in place of a value model.

Training problems have an answer, so the value of a new state is the mean outcome of some rollouts
from it (Kocsis and Szepesvari, 2006; for step-level labels MCTS* of ReST-MCTS*, arXiv 2406.03816,
and section 3.2 of Q*, arXiv 2406.14283, which takes the best of such a pool). Selection, expansion
and back-up are those of `qstar_core.search.mcts`; what differs:

1. All actions that an expansion samples are evaluated at once, one group of rollouts each; the mean
   of their values is what goes up. A terminal action is graded and closed at once.
2. The search is after the trajectories, not the best of them: it ends with its number of
   simulations, when everything is closed, or with the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import cast

from qstar_core.config import SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem, Step
from qstar_core.search.astar import Action, add_all
from qstar_core.search.budget import Ledger
from qstar_core.search.mcts import Branch, back_up, grow, walk
from qstar_core.search.requests import Asking, Drawn, Rollout, distinct, propose
from qstar_core.search.trace import Node, Search, Tree

Steps = tuple[Step, ...]


@dataclass(slots=True)
class Gathered:
    """The distinct finished trajectories of one search, in the order in which they were found.

    Attributes:
        problem: the question.
        ends: by their texts: the steps, and how many of them the tree gave.
    """

    problem: Problem
    ends: dict[tuple[str, ...], tuple[Steps, int]] = field(default_factory=dict)

    def take(self, steps: Steps, given: int) -> float:
        """Keeps a finished trajectory if it is new; 1 if it is correct, else 0."""
        texts = tuple(step.text for step in steps)
        self.ends.setdefault(texts, (steps, given))
        reward: float = DOMAINS[self.problem.domain].grade(self.problem, texts).reward
        return reward


def rollout_mcts(
    problem: Problem,
    config: SearchConfig,
    ledger: Ledger,
    *,
    simulations: int,
    rollouts: int,
    gathered: Gathered,
) -> Search:
    """Searches one problem.

    Args:
        problem: the question.
        config: K, the temperature and the rule of exploration.
        ledger: what was spent.
        simulations: states that are expanded, at most.
        rollouts: continuations of each new state.
        gathered: takes the finished trajectories.
    """
    tree = Tree(problem, config)
    root = Branch(tree.root)
    for number in range(simulations):
        if root.closed or ledger.over:
            break
        path = walk(root, config)
        tip = path[-1]
        tip.node.order = number
        [proposed] = yield from propose([tip.node.state], config.k)
        actions = [Action(one.step, one.spent) for one in distinct(proposed)]
        children = add_all(tree, tip.node, actions)
        yield from evaluate(children, rollouts, gathered)
        grow(tip, children)
        for branch in tip.branches:
            branch.closed = branch.node.terminal
        back_up(path, fmean(child.f or 0.0 for child in children) if children else 0.0)
    return tree.result([], ledger, done=not ledger.over)


def evaluate(children: Sequence[Node], rollouts: int, gathered: Gathered) -> Asking[None]:
    """Sets f of new nodes: the grade of a terminal one, else the mean of rollouts from it."""
    inner = [child for child in children if not child.terminal]
    answers = (yield [Rollout(child.state, rollouts) for child in inner]) if inner else []
    for child in children:
        if child.terminal:
            child.f = gathered.take(child.state.steps, len(child.state.steps) - 1)
    for child, answer in zip(inner, answers, strict=True):
        taken = child.state.steps
        drawn = cast("list[Drawn]", answer)
        returns = [gathered.take((*taken, *one.steps), len(taken)) for one in drawn]
        child.f = fmean(returns) if returns else 0.0
