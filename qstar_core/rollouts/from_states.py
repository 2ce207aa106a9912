"""Pools of continuations of the states that the rollouts of a problem visited.

The states are those after each step of a rollout but its last; equal ones count once. The root is
left out: the rollouts are its continuations. Each state gets ``samples`` of them.

With ``max_samples`` the pool is adaptive: states whose success rate is still uncertain get more.
The uncertainty of a state is the width of the 95 % Wilson interval of the label of the step that
leads to it: of all on-policy paths through the state that were not given more than its steps
(rollouts and continuations; for another policy, its own continuations of the state alone). Then
rounds of ``increment`` for each state whose interval is wider than ``width``, the widest first and
ties by state id, until none is, or each has ``max_samples``, or the problem's tokens are spent. A
round takes as many states as its tokens, at the mean cost of a sample so far, fit into what is
left, and one at least.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from qstar_core.config import PoolConfig
from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem, Step
from qstar_core.rollouts.continuations import Ask, Asking
from qstar_core.rollouts.paths import Path, is_correct, steps_of

Z95 = 1.959963984540054

States = dict[str, tuple[Step, ...]]
"""The steps that lead to a state, by its id."""


def states_of(problem: Problem, rollouts: Sequence[Path], most: int | None = None) -> States:
    """The distinct states that rollouts visited between the question and their ends.

    Args:
        problem: the question.
        rollouts: all of its rollouts.
        most: how many states are kept, those that most rollouts visited, ties by id.

    Returns:
        The states in the order in which they were first visited.
    """
    is_terminal = DOMAINS[problem.domain].is_terminal
    visits: Counter[str] = Counter()
    found: States = {}
    for path in rollouts:
        for depth in range(1, path["n_steps"]):
            state_id = path["steps"][depth]["state_id"]
            if state_id not in visits:
                found[state_id] = steps_of(path, depth)
            visits[state_id] += 1
    open_states = {s: steps for s, steps in found.items() if not is_terminal(problem, steps)}
    kept = set(sorted(open_states, key=lambda s: (-visits[s], s))[:most])
    return {s: steps for s, steps in open_states.items() if s in kept}


def wilson_width(n: int, successes: int) -> float:
    """Width of the 95 % Wilson interval of a success rate, in [0, 1]; 1 where n is 0."""
    if not n:
        return 1.0
    rate = successes / n
    spread = math.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n * n))
    return 2 * Z95 * spread / (1 + Z95**2 / n)


@dataclass(slots=True)
class Evidence:
    """Paths through each state, and what they cost.

    Attributes:
        states: those that count.
        on_policy: whether every path through a state counts; otherwise its own continuations.
        n: paths by state.
        successes: correct ones among them.
        samples: continuations that were drawn.
        tokens: that they took.
    """

    states: States
    on_policy: bool
    n: Counter[str] = field(default_factory=Counter)
    successes: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    tokens: int = 0

    def count(self, paths: Iterable[Path], given: int | None = None) -> None:
        """Counts paths at the states they pass through from the end of the given steps on."""
        for path in paths:
            first = path["prefix_steps"] if given is None else given
            last = path["n_steps"] if self.on_policy else first + 1
            for depth in range(max(1, first), min(last, path["n_steps"])):
                state_id = path["steps"][depth]["state_id"]
                if state_id in self.states:
                    self.n[state_id] += 1
                    self.successes[state_id] += is_correct(path)

    def draw(self, paths: Sequence[Path]) -> None:
        """Counts new continuations."""
        self.count(paths)
        self.samples += len(paths)
        self.tokens += sum(path["tokens"] for path in paths)

    def width(self, state_id: str) -> float:
        """Of the interval of a state."""
        return wilson_width(self.n[state_id], self.successes[state_id])


def from_states(problem: Problem, rollouts: Sequence[Path], pool: PoolConfig) -> Asking:
    """Asks for continuations of the states of one problem.

    Args:
        problem: the question.
        rollouts: all of its rollouts.
        pool: of kind states or stronger.
    """
    states = states_of(problem, rollouts, pool.max_states)
    evidence = Evidence(states, on_policy=pool.kind == "states")
    if evidence.on_policy:
        evidence.count(rollouts, given=0)
    drawn = dict.fromkeys(states, 0)
    asked = [Ask(state_id, steps, 0, pool.draws) for state_id, steps in states.items()]
    while asked:
        answers = yield asked
        for ask, paths in zip(asked, answers, strict=True):
            evidence.draw(paths)
            drawn[ask.state_id] += ask.count
            if not paths:  # out of tokens: it cannot be continued
                del drawn[ask.state_id]
        asked = next_round(evidence, drawn, pool)


def next_round(evidence: Evidence, drawn: dict[str, int], pool: PoolConfig) -> list[Ask]:
    """What an adaptive pool asks for next; nothing where it is done.

    Args:
        evidence: all paths so far.
        drawn: continuations of each state that may get more.
        pool: its limits.
    """
    if pool.max_samples is None or not evidence.samples:
        return []
    widths = {state_id: evidence.width(state_id) for state_id in drawn}
    uncertain = [s for s in drawn if widths[s] > pool.width and drawn[s] < pool.max_samples]
    uncertain.sort(key=lambda s: (-widths[s], s))
    cost = evidence.tokens / evidence.samples
    left = math.inf
    if pool.tokens_per_problem is not None:
        left = pool.tokens_per_problem - evidence.tokens
    asked: list[Ask] = []
    for state_id in uncertain:
        if left <= 0:
            break
        count = min(pool.increment, pool.max_samples - drawn[state_id])
        if asked and count * cost > left:
            break
        asked.append(Ask(state_id, evidence.states[state_id], drawn[state_id], count))
        left -= count * cost
    return asked
